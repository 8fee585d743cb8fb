"""Kinds and schedules on pages and in the API of admins: pauses, limits, runs."""

from __future__ import annotations

from uuid import uuid4

import httpx
import pytest

from chassis import ids
from repruv.jobs.v1 import kind_pb2
from tests.integration.gateway.conftest import Account
from tests.integration.gateway.html import HTML, Page, open_page, press, submit
from tests.integration.jobs import jobs_server
from tests.integration.jobs.jobs_server import JobsApi


async def test_kinds_are_paused_and_limited(
    account: Account, admin: httpx.AsyncClient, jobs_api: JobsApi, kind: str
) -> None:
    await jobs_api.submit(kind, account.user_id)
    page = await open_page(admin, "/admin/kinds")
    assert f"/admin/kinds/{kind}" in page.links
    page = await press(admin, page, "/admin/kinds/pause", kind=kind)
    assert "Paused" in page.text
    assert await jobs_api.claim(kind) == []
    stuck = (await admin.get("/api/v1/admin/stuck?page_size=100")).json()["jobs"]
    assert {"paused"} == {job["reason"] for job in stuck if job["job"]["kind"] == kind}
    assert "The job type is paused" in (await open_page(admin, "/admin/stuck")).text
    page = await press(admin, page, "/admin/kinds/resume", kind=kind)
    assert len(await jobs_api.claim(kind)) == 1

    options = {"max_running": "3", "max_running_per_key": "2", "rate_count": "10", "rate_period_seconds": "60"}
    page = await open_page(admin, f"/admin/kinds/{kind}")
    page = await press(admin, page, f"/admin/kinds/{kind}/limits", **options)
    assert "Limits saved: " in page.text
    assert "3 at once, 10 per 1 min, 2 per key" in (await open_page(admin, "/admin/kinds")).text
    wrong = await submit(admin, page, f"/admin/kinds/{kind}/limits", **{**options, "max_running": "many"})
    assert wrong.status_code == 422
    assert "Must be a whole number" in Page(wrong).text
    assert Page(wrong).attributes["max_running"]["value"] == "many"
    assert (await admin.get("/admin/kinds/demo.unknown")).status_code == 404
    for lone, missing in (("rate_count", "rate_period_seconds"), ("rate_period_seconds", "rate_count")):
        wrong = await submit(admin, page, f"/admin/kinds/{kind}/limits", **{**options, missing: ""})
        assert wrong.status_code == 422, lone
        assert Page(wrong).attributes[missing]["aria-invalid"] == "true", lone
    limits = {"max_running": 0, "max_running_per_key": 1, "rate_count": 0}
    freed = await admin.put(f"/api/v1/admin/kinds/{kind}/limits", json=limits)
    assert freed.json()["limits"] == {**limits, "rate_period_seconds": None}


async def test_everything_is_paused_after_a_confirmation(admin: httpx.AsyncClient) -> None:
    page = await open_page(admin, "/admin/kinds")
    assert "/admin/kinds/confirm" in page.links
    page = await open_page(admin, "/admin/kinds/confirm")
    assert "Pause all job types?" in page.text
    try:
        page = await press(admin, page, "/admin/kinds/pause")
        assert "Everything is paused." in page.text and "Paused (all)" in page.text
        assert "Ready" not in page.text
    finally:
        await admin.post("/api/v1/admin/kinds/*/resume")
    assert "Everything is paused." not in (await open_page(admin, "/admin/kinds")).text


async def test_schedules_are_paused_and_triggered_once(demo_target: str, admin: httpx.AsyncClient) -> None:
    name = "demo.expire"
    page = await open_page(admin, "/admin/schedules")
    assert name in page.text
    page = await press(admin, page, "/admin/schedules/pause", name=name)
    assert "Schedule paused: demo.expire." in page.text
    page = await press(admin, page, "/admin/schedules/resume", name=name)
    job_id = str(ids.uuid7())
    for _ in range(2):
        answer = await submit(admin, page, "/admin/schedules/trigger", name=name, job_id=job_id)
        assert (answer.status_code, answer.headers["location"]) == (303, f"/jobs/{job_id}")
    assert "Disable expired demo modes" in (await open_page(admin, f"/jobs/{job_id}")).text
    lost = await press(admin, page, "/admin/schedules/pause", name="no.such.schedule")
    assert "This schedule no longer exists" in lost.text
    schedules = (await admin.get("/api/v1/admin/schedules")).json()["schedules"]
    assert [schedule["next_at"] is not None for schedule in schedules if schedule["name"] == name] == [True]


SCHEMA = """{"type": "object", "required": ["names"], "properties": {
    "names": {"type": "array", "items": {"type": "string"}},
    "language": {"enum": ["en", "de"], "type": "string", "default": "en"},
    "token": {"type": "string", "default": ""}}}"""


@pytest.fixture
async def described(jobs_api: JobsApi) -> str:
    """Register a kind that describes its payload, with a sensitive field."""
    name = f"demo.{uuid4().hex}"
    await jobs_api.register(kind_pb2.KindRegistration(kind=name, payload_schema=SCHEMA, sensitive_fields=["token"]))
    return name


async def test_a_job_is_run_by_a_form_and_replayed_with_changes(
    account: Account, admin: httpx.AsyncClient, jobs_api: JobsApi, described: str
) -> None:
    path = f"/admin/kinds/{described}"
    page = await open_page(admin, path)
    names = {"payload.names": "Ada\nGrace", "payload.language": "de", "payload.token": "secret", "owner": account.email}
    for wrong, message in (
        ({"payload.language": "xx"}, "Choose one of the values."),
        ({"owner": "nobody@example.org"}, "There is no such user."),
        ({"run_at": "tomorrow"}, "Enter a date and a time."),
        ({"run_at": "9999-01-01T00:00"}, "Enter a date and a time."),
    ):
        answer = await submit(admin, page, f"{path}/run", **{**names, **wrong})
        assert (answer.status_code, message in Page(answer).text) == (422, True), wrong
        assert "secret" not in answer.text and "Grace" in answer.text
    for _ in range(2):
        answer = await submit(admin, page, f"{path}/run", **names)
        assert answer.status_code == 303, answer.text
    job_id = answer.headers["location"].removeprefix("/jobs/")
    (job,) = await jobs_api.claim(described, limit=2)
    assert (job.job_id, job.spec.owner_id) == (job_id, account.user_id)
    assert dict(job.spec.payload) == {"names": job.spec.payload["names"], "language": "de", "token": "secret"}
    await jobs_api.finish(job, failed=jobs_server.failed("unlucky"))

    page = await open_page(admin, f"/jobs/{job_id}")
    (link,) = [link for link in page.links if "?replay=" in link]
    assert "?replay=" not in " ".join((await open_page(account.http, f"/jobs/{job_id}")).links)
    page = await open_page(admin, link)
    assert "Ada Grace" in page.text and "Sensitive fields are hidden." in page.text
    assert "secret" not in page.text
    assert page.forms[f"{path}/run"]["owner"] == account.user_id
    replayed = {"payload.names": "Ada", "payload.language": "en", "payload.token": "other"}
    answer = await submit(admin, page, f"{path}/run", **replayed)
    (job,) = await jobs_api.claim(described)
    assert f"/jobs/{job.job_id}" == answer.headers["location"] != f"/jobs/{job_id}"
    assert (job.spec.payload["token"], job.spec.owner_id) == ("other", account.user_id)
    masked = {"kind": described, "payload": {"names": [], "token": "•••"}}
    answer = await admin.post("/api/v1/admin/jobs", json=masked)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "token")


async def test_jobs_are_run_by_the_api_of_admins_only(
    account: Account, admin: httpx.AsyncClient, jobs_api: JobsApi, described: str, kind: str
) -> None:
    details = (await admin.get(f"/api/v1/admin/kinds/{described}")).json()
    assert set(details["payload_schema"]["properties"]) == {"names", "language", "token"}
    assert details["sensitive_fields"] == ["token"]
    assert (await admin.get(f"/api/v1/admin/kinds/{kind}")).json()["payload_schema"] is None
    body = {"kind": kind, "payload": {"a": [1, None]}, "run_at": "2999-01-01T00:00:00Z"}
    job = (await admin.post("/api/v1/admin/jobs", json=body)).json()
    assert job.get("code") is None, job
    assert (job["status"], job["kind"]) == ("scheduled", kind)
    assert (await account.http.post("/api/v1/admin/jobs", json=body)).status_code == 403
    for refused, code in (("demo.unknown", 404), ("jobs.bulk", 422), (f"{kind}.undo", 422), ("No Kind", 422)):
        assert (await admin.post("/api/v1/admin/jobs", json={"kind": refused})).status_code == code, refused
    deep: dict[str, object] = {}
    for _ in range(30):
        deep = {"a": deep}
    for payload in ({"a": 2**60}, deep, {"a": "\x00"}):
        answer = await admin.post("/api/v1/admin/jobs", json={"kind": kind, "payload": payload})
        assert answer.status_code == 422, answer.text
    # A refused kind was not stored.
    assert (await admin.get("/api/v1/admin/kinds/demo.unknown")).status_code == 404
    page = await open_page(admin, "/admin/kinds/jobs.bulk")
    assert "operators cannot" in page.text and "/admin/kinds/jobs.bulk/run" not in page.forms
    assert (await admin.get(f"/admin/kinds/{kind}?replay=nonsense")).status_code == 404
    assert (await account.http.get(f"/admin/kinds/{kind}", headers=HTML)).status_code == 404
    assert (await account.http.post(f"/admin/kinds/{kind}/run", data={})).status_code == 404


async def test_operators_make_change_and_delete_schedules(
    account: Account, admin: httpx.AsyncClient, jobs_api: JobsApi, described: str
) -> None:
    name, path = f"operator.{described[-8:]}", f"/admin/kinds/{described}"
    page = await open_page(admin, path)
    page.forms[f"{path}/schedule"] = page.forms[f"{path}/run"]
    values = {"payload.names": "Ada", "payload.token": "secret", "payload.language": "en", "cron": "0 3 * * *"}
    values |= {"time_zone": "Europe/Berlin", "overlap": "queue", "name": name}
    for wrong, field in (({"cron": "x"}, "cron"), ({"time_zone": "Mars"}, "time_zone"), ({"name": "mine"}, "name")):
        answer = await submit(admin, page, f"{path}/schedule", **{**values, **wrong})
        assert (answer.status_code, f"{field}-error" in answer.text) == (422, True), wrong
    form = await press(admin, page, f"{path}/schedule", **values)
    assert "Schedule saved: operator." in form.text and "Europe/Berlin" in form.text
    assert "secret" not in form.text
    again = await submit(admin, page, f"{path}/schedule", **values)
    assert "Choose another name." in Page(again).text

    address = f"/admin/schedules/{name}"
    changes = {"payload.names": "Ada\nGrace", "payload.language": "de", "cron": "*/5 * * * *", "time_zone": "UTC"}
    form = await press(admin, form, f"{address}/save", **changes, overlap="skip", **{"payload.token": ""})
    details = (await admin.get(f"/api/v1{address}")).json()
    assert (details["schedule"]["cron"], details["schedule"]["is_of_operator"]) == ("*/5 * * * *", True)
    assert (len(details["next_at"]), len(details["runs"])) == (5, 10)
    assert details["payload"] == {"names": ["Ada", "Grace"], "language": "de", "token": "•••"}
    # The empty sensitive field kept its value.
    job_id = str(ids.uuid7())
    page = await open_page(admin, address)
    assert "None yet." in page.text
    answer = await submit(admin, page, "/admin/schedules/trigger", job_id=job_id)
    assert answer.headers["location"] == f"/jobs/{job_id}"
    (job,) = await jobs_api.claim(described)
    assert job.spec.payload["token"] == "secret"
    # A worker that registers again changes nothing about it.
    await jobs_api.register(kind_pb2.KindRegistration(kind=described))
    assert name in (await open_page(admin, "/admin/schedules")).text

    page = await open_page(admin, f"{address}/confirm")
    assert f"Delete {name}?" in page.text
    assert "Schedule deleted: operator." in (await press(admin, page, f"{address}/delete")).text
    assert (await admin.get(f"/api/v1{address}")).status_code == 404
    assert (await admin.get(address)).status_code == 404
    assert (await account.http.get(address, headers=HTML)).status_code == 404


async def test_schedules_of_workers_are_shown_but_not_changed(demo_target: str, admin: httpx.AsyncClient) -> None:
    page = await open_page(admin, "/admin/schedules/demo.expire")
    assert "Workers register this schedule." in page.text and "Past runs" in page.text
    assert "/admin/schedules/demo.expire/save" not in page.forms
    answer = await admin.delete("/api/v1/admin/schedules/demo.expire")
    assert (answer.status_code, answer.json()["code"]) == (409, "schedule_registered")
    body = {"kind": "demo.expire", "cron": "* * * * *"}
    answer = await admin.put("/api/v1/admin/schedules/demo.expire", json=body)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "name")
