"""Pages and API for admins; other users get 404."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import pytest

from chassis import identity, ids
from gateway.views import engine
from repruv.jobs.v1 import kind_pb2
from tests.integration.gateway.conftest import ADMIN_EMAIL, PASSWORD, Account
from tests.integration.gateway.html import Page, submit
from tests.integration.jobs import jobs_server
from tests.integration.jobs.jobs_server import JobsApi

HTML = {"Accept": "text/html"}
PAGES = (
    "search",
    "search?q=demo",
    "kinds/demo.enable",
    "jobs",
    "errors",
    "kinds",
    "schedules",
    "stuck",
    "workers",
    "users",
    "security-events",
)


@pytest.fixture
async def jobs_api(jobs_target: str, signer: Callable[[str], identity.Signer]) -> AsyncIterator[JobsApi]:
    """Connect to the jobs service."""
    async with jobs_server.connect_jobs_api(jobs_target, signer) as api:
        yield api


@pytest.fixture
async def admin(url: str) -> AsyncIterator[httpx.AsyncClient]:
    """Yield the admin's browser."""
    async with httpx.AsyncClient(base_url=url, headers=HTML, timeout=60.0) as client:
        answer = await client.post("/api/v1/auth/login", json={"email": ADMIN_EMAIL, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        yield client


@pytest.fixture
async def kind(jobs_api: JobsApi) -> str:
    """Register a kind for one test, without a worker."""
    name = f"demo.{uuid4().hex}"
    await jobs_api.register(kind_pb2.KindRegistration(kind=name))
    return name


async def probe(client: httpx.AsyncClient, path: str) -> Page:
    answer = await client.get(path, headers=HTML)
    assert answer.status_code == 200, answer.text
    return Page(answer)


async def press(client: httpx.AsyncClient, page: Page, action: str, **values: str) -> Page:
    """Send a form; return the page after redirects."""
    answer = await submit(client, page, action, **values)
    assert answer.status_code == 303, answer.text
    return await probe(client, answer.headers["location"])


async def test_other_users_get_not_found(account: Account, admin: httpx.AsyncClient) -> None:
    for name in PAGES:
        answer = await account.http.get(f"/admin/{name}", headers=HTML)
        assert (answer.status_code, "Page not found" in Page(answer).text) == (404, True), name
        assert (await admin.get(f"/admin/{name}")).status_code == 200, name
    for path in ("jobs/cancel", "jobs/retry", "kinds/pause", "kinds/demo.enable/limits", "schedules/trigger"):
        answer = await account.http.post(f"/admin/{path}", headers=HTML)
        assert answer.status_code == 404, path
    assert (await account.http.post(f"/admin/users/{account.user_id}/role", data={"role": "admin"})).status_code == 404
    for path in (
        "jobs",
        "jobs/count",
        "rates",
        "problems",
        "errors",
        "kinds",
        "schedules",
        "stuck",
        "workers",
        "users",
    ):
        answer = await account.http.get(f"/api/v1/admin/{path}")
        assert (answer.status_code, answer.json()["code"]) == (403, "admin_required"), path
    assert (await account.http.get("/admin", headers=HTML)).status_code == 404
    assert "/admin" not in (await probe(account.http, "/jobs")).links
    assert "/admin" in (await probe(admin, "/jobs")).links


async def test_admins_cancel_and_retry_jobs_of_all_users(
    register: Callable[..., Awaitable[Account]], admin: httpx.AsyncClient, jobs_api: JobsApi, kind: str
) -> None:
    user, stranger = await register(), await register()
    job, other = await jobs_api.submit(kind, user.user_id), await jobs_api.submit(kind, stranger.user_id)
    page = await probe(admin, f"/admin/jobs?kind={kind}")
    assert {f"/jobs/{job.job_id}", f"/jobs/{other.job_id}"} <= set(page.links)
    assert user.email in page.text and stranger.email in page.text
    assert "2 jobs of 2 owners" in page.text
    for owner in (user.user_id, user.email.upper()):
        page = await probe(admin, f"/admin/jobs?owner={owner}")
        assert f"/jobs/{job.job_id}" in page.links, owner
        assert f"/jobs/{other.job_id}" not in page.links, owner
    for owner in ("nonsense", user.email[:-1]):
        assert "No matching jobs" in (await probe(admin, f"/admin/jobs?owner={owner}")).text, owner

    page = await press(admin, page, "/admin/jobs/cancel", job_id=job.job_id)
    assert "Job cancelled." in page.text
    page = await press(admin, page, "/admin/jobs/retry", job_id=job.job_id)
    assert "Retry queued." in page.text
    page = await probe(admin, f"/jobs/{job.job_id}")
    assert user.email in page.text and f"/admin/users/{user.user_id}" in page.links
    assert "Retry requested" in (await probe(user.http, f"/jobs/{job.job_id}")).text
    lost = await press(
        admin, await probe(admin, f"/admin/jobs?kind={kind}"), "/admin/jobs/cancel", job_id=str(ids.uuid7())
    )
    assert "This job no longer exists" in lost.text


async def test_jobs_are_filtered_sorted_and_paged_by_the_address(
    account: Account, admin: httpx.AsyncClient, jobs_api: JobsApi, kind: str
) -> None:
    made = [(await jobs_api.submit(kind, account.user_id)).job_id for _ in range(21)]
    system = await jobs_api.submit(kind, engine.SYSTEM)
    (failed,) = await jobs_api.claim(kind)
    await jobs_api.finish(failed, failed=jobs_server.failed("imported_nothing"))

    async def shown(query: str) -> list[str]:
        links = (await probe(admin, f"/admin/jobs?kind={kind}{query}")).links
        return [link.removeprefix("/jobs/") for link in links if link.removeprefix("/jobs/") in {*made, system.job_id}]

    assert await shown("") == made[::-1]
    assert await shown("&system=yes") == [system.job_id, *made[::-1]]
    assert await shown("&order=oldest") == made
    assert await shown("&state=failed") == [failed.job_id]
    assert await shown("&code=imported_nothing&since=1h") == [failed.job_id]
    assert await shown("&text=did+not+work") == [failed.job_id]
    assert await shown(f"&worker={jobs_server.WORKER}") == [failed.job_id]
    assert await shown("&before=2020-01-01T00:00") == []
    assert await shown("&state=nonsense&since=x&order=x&size=7&after=x") == made[::-1]
    assert set(await shown("&order=run")) == {failed.job_id}

    first = await probe(admin, f"/admin/jobs?kind={kind}&size=20")
    (following,) = [link for link in first.links if "page_token" in link]
    second = await probe(admin, following)
    assert [link for link in second.links if link == f"/jobs/{made[0]}"]
    assert "21 jobs of 1 owner" in second.text
    (preceding,) = [link for link in second.links if "page_token" in link]
    assert [link for link in (await probe(admin, preceding)).links if link.startswith("/jobs/")] == [
        link for link in first.links if link.startswith("/jobs/")
    ]
    stale = await admin.get(following.replace("size=20", "size=20&state=failed"))
    assert stale.headers["location"] == f"/admin/jobs?state=failed&kind={kind}&size=20"
    assert (await admin.get(f"/admin/jobs?text={made[3]}")).headers["location"] == f"/jobs/{made[3]}"


async def test_jobs_of_all_users_are_searched_by_the_api(
    account: Account, admin: httpx.AsyncClient, jobs_api: JobsApi, kind: str
) -> None:
    jobs = [await jobs_api.submit(kind, account.user_id) for _ in range(3)]
    query = {"kind": kind, "status": ["pending", "running"], "created_from": "2020-01-01T00:00:00Z"}
    page = (await admin.get("/api/v1/admin/jobs", params={**query, "page_size": 2, "order": "oldest"})).json()
    assert [job["job_id"] for job in page["jobs"]] == [job.job_id for job in jobs[:2]]
    assert page["jobs"][0]["wait_seconds"] >= 0
    assert (page["jobs"][0]["worker"], page["jobs"][0]["run_seconds"], page["previous_page_token"]) == ("", None, "")
    query_of_next = {**query, "page_size": 2, "order": "oldest", "page_token": page["next_page_token"]}
    page = (await admin.get("/api/v1/admin/jobs", params=query_of_next)).json()
    assert [job["job_id"] for job in page["jobs"]] == [jobs[2].job_id]
    assert page["previous_page_token"]
    counts = (await admin.get("/api/v1/admin/jobs/count", params={"kind": kind})).json()
    group = {"kind": kind, "status": "pending", "count": 3}
    assert counts == {"count": 3, "has_more": False, "owner_count": 1, "groups": [group]}


async def test_overview_and_errors_lead_to_the_jobs_of_each_number(
    account: Account, admin: httpx.AsyncClient, jobs_api: JobsApi, kind: str
) -> None:
    for _ in range(3):
        await jobs_api.submit(kind, account.user_id)
    for job in await jobs_api.claim(kind, limit=2):
        await jobs_api.finish(job, failed=jobs_server.failed("import_refused"))
    problems = (await admin.get("/api/v1/admin/problems")).json()["problems"]
    (problem,) = [problem for problem in problems if problem["kind"] == kind]
    assert (problem["reason"], problem["count"], problem["owner_count"]) == ("failing", 2, 1)
    (group,) = (await admin.get("/api/v1/admin/errors", params={"kind": kind})).json()["groups"]
    assert (group["code"], group["count"], group["owner_count"], sum(group["trend"])) == ("import_refused", 2, 1, 2)

    for span in ("", "?span=24h", "?span=7d", "?span=nonsense"):
        page = await probe(admin, f"/admin{span}")
        assert f"/admin/errors?kind={kind}" in page.links, span
        assert f"/admin/jobs?system=yes&kind={kind}" in page.links, span
    page = await probe(admin, f"/admin/errors?kind={kind}")
    (link,) = {link for link in page.links if f"kind={kind}" in link}
    assert "import_refused" in page.text
    jobs = await probe(admin, link)
    assert "2 jobs of 1 owner" in jobs.text
    assert "No failed jobs" in (await probe(admin, "/admin/errors?kind=demo.none")).text
    assert "No failed jobs" in (await probe(admin, "/admin/errors?kind=No+Kind")).text
    for span, points in (("hour", 60), ("day", 24), ("week", 168)):
        rates = (await admin.get("/api/v1/admin/rates", params={"span": span})).json()
        assert len(rates["total"]["points"]) == points
        assert rates["total"]["kind"] == "*"


async def test_failed_jobs_are_retried_together_after_a_confirmation(
    account: Account, admin: httpx.AsyncClient, jobs_api: JobsApi, kind: str
) -> None:
    made = [(await jobs_api.submit(kind, account.user_id)).job_id for _ in range(3)]
    for job in await jobs_api.claim(kind, limit=2):
        await jobs_api.finish(job, failed=jobs_server.failed("import_refused"))
    page = await probe(admin, f"/admin/jobs?state=failed&kind={kind}")
    (link,) = [link for link in page.links if link.startswith("/admin/jobs/bulk")]
    page = await probe(admin, link)
    assert "Retry 2 jobs?" in page.text
    assert "They belong to 1 owner." in page.text
    page = await press(admin, page, "/admin/jobs/bulk/start", per_second="100")
    assert "Change many jobs" in page.text
    async with asyncio.timeout(60):
        while (await admin.get("/api/v1/admin/jobs/count", params={"kind": kind, "status": "failed"})).json()["count"]:
            await asyncio.sleep(0.1)
    assert {job.job_id for job in await jobs_api.claim(kind, limit=3)} == set(made)

    counted = await admin.post(
        "/api/v1/admin/jobs/change", params={"kind": kind}, json={"change": "cancel", "dry_run": True}
    )
    assert (counted.status_code, counted.json()["job"], counted.json()["counts"]["count"]) == (202, None, 3)
    refused = await admin.get(f"/admin/jobs/bulk?change=cancel&state=failed&kind={kind}")
    assert refused.headers["location"] == f"/admin/jobs?state=failed&kind={kind}"
    assert (await account.http.get(f"/admin/jobs/bulk?change=retry&kind={kind}", headers=HTML)).status_code == 404
    assert (await account.http.post("/api/v1/admin/jobs/change", json={"change": "retry"})).status_code == 403


async def test_kinds_are_paused_and_limited(
    account: Account, admin: httpx.AsyncClient, jobs_api: JobsApi, kind: str
) -> None:
    await jobs_api.submit(kind, account.user_id)
    page = await probe(admin, "/admin/kinds")
    assert f"/admin/kinds/{kind}" in page.links
    page = await press(admin, page, "/admin/kinds/pause", kind=kind)
    assert "Paused" in page.text
    assert await jobs_api.claim(kind) == []
    stuck = (await admin.get("/api/v1/admin/stuck?page_size=100")).json()["jobs"]
    assert {"paused"} == {job["reason"] for job in stuck if job["job"]["kind"] == kind}
    assert "The job type is paused" in (await probe(admin, "/admin/stuck")).text
    page = await press(admin, page, "/admin/kinds/resume", kind=kind)
    assert len(await jobs_api.claim(kind)) == 1

    options = {"max_running": "3", "max_running_per_key": "2", "rate_count": "10", "rate_period_seconds": "60"}
    page = await probe(admin, f"/admin/kinds/{kind}")
    page = await press(admin, page, f"/admin/kinds/{kind}/limits", **options)
    assert "Limits saved." in page.text
    assert "3 at once, 10 per 1 min, 2 per key" in (await probe(admin, "/admin/kinds")).text
    wrong = await submit(admin, page, f"/admin/kinds/{kind}/limits", **{**options, "max_running": "many"})
    assert wrong.status_code == 422
    assert "Must be a whole number" in Page(wrong).text
    assert Page(wrong).attributes["max_running"]["value"] == "many"
    assert (await admin.get("/admin/kinds/demo.unknown")).status_code == 404
    limits = {"max_running": 0, "max_running_per_key": 1, "rate_count": 0}
    freed = await admin.put(f"/api/v1/admin/kinds/{kind}/limits", json=limits)
    assert freed.json()["limits"] == {**limits, "rate_period_seconds": None}


async def test_everything_is_paused_after_a_confirmation(admin: httpx.AsyncClient) -> None:
    page = await probe(admin, "/admin/kinds")
    assert "/admin/kinds/confirm" in page.links
    page = await probe(admin, "/admin/kinds/confirm")
    assert "Pause all job types?" in page.text
    try:
        page = await press(admin, page, "/admin/kinds/pause")
        assert "Everything is paused." in page.text
    finally:
        await admin.post("/api/v1/admin/kinds/*/resume")
    assert "Everything is paused." not in (await probe(admin, "/admin/kinds")).text


async def test_schedules_are_paused_and_triggered_once(demo_target: str, admin: httpx.AsyncClient) -> None:
    name = "demo.expire"
    page = await probe(admin, "/admin/schedules")
    assert name in page.text
    page = await press(admin, page, "/admin/schedules/pause", name=name)
    assert "Schedule paused." in page.text
    page = await press(admin, page, "/admin/schedules/resume", name=name)
    job_id = str(ids.uuid7())
    for _ in range(2):
        answer = await submit(admin, page, "/admin/schedules/trigger", name=name, job_id=job_id)
        assert (answer.status_code, answer.headers["location"]) == (303, f"/jobs/{job_id}")
    assert "Disable expired demo modes" in (await probe(admin, f"/jobs/{job_id}")).text
    lost = await press(admin, page, "/admin/schedules/pause", name="no.such.schedule")
    assert "This schedule no longer exists" in lost.text
    schedules = (await admin.get("/api/v1/admin/schedules")).json()["schedules"]
    assert [schedule["next_at"] is not None for schedule in schedules if schedule["name"] == name] == [True]


async def test_workers_are_listed(
    admin: httpx.AsyncClient, kind: str, eventually: Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]
) -> None:
    async def of_jobs() -> list[dict[str, Any]]:
        workers = (await admin.get("/api/v1/admin/workers")).json()["workers"]
        return [worker for worker in workers if worker["worker"].startswith("jobs-")]

    async def is_registered() -> bool:
        return bool(await of_jobs())

    await eventually(is_registered)
    page = await probe(admin, "/admin/workers")
    assert jobs_server.WORKER in page.text
    workers = (await admin.get("/api/v1/admin/workers")).json()["workers"]
    assert jobs_server.WORKER in {worker["worker"] for worker in workers}
    (one,) = await of_jobs()
    assert (one["concurrency"], one["held_count"], one["held_jobs"]) == (4, len(one["held_jobs"]), one["held_jobs"])
    assert one["host"] and one["version"] and one["started_at"]


async def test_accounts_are_searched_disabled_and_enabled(
    register: Callable[..., Awaitable[Account]], admin: httpx.AsyncClient
) -> None:
    account = await register()
    page = await probe(admin, f"/admin/users?email={account.email[:12].upper()}")
    path = f"/admin/users/{account.user_id}"
    assert path in page.links
    assert "No matching users" in (await probe(admin, "/admin/users?email=nobody-at-all")).text
    assert not {f"{path}/disable", f"{path}/role"} & (await probe(admin, path)).forms.keys()
    page = await probe(admin, f"{path}/confirm/disable")
    assert "1 session ends now, and all API tokens." in page.text
    assert "0 unfinished jobs of theirs will still run." in page.text
    page = await press(admin, page, f"{path}/disable")
    assert "Account disabled." in page.text
    assert (await account.http.get("/api/v1/auth/me")).status_code == 401
    page = await press(admin, page, f"{path}/enable")
    assert "Account enabled." in page.text
    page = await press(admin, await probe(admin, f"{path}/confirm/role"), f"{path}/role")
    assert "Revoke admin" in page.text
    assert (await admin.get(f"{path}/confirm/nothing")).status_code == 404
    for user in (account.user_id, account.email.upper()):
        events = await probe(admin, f"/admin/security-events?user={quote(user)}")
        assert path in events.links
        assert f"Account created {account.email}" in events.text
    assert "No matching events" in (await probe(admin, "/admin/security-events?user=nobody@example.com")).text
    for missing in (ids.uuid7(), "nonsense"):
        assert (await admin.get(f"/admin/users/{missing}")).status_code == 404
    assert "No matching events" in (await probe(admin, "/admin/security-events?user=nonsense")).text


async def test_search_goes_to_the_only_hit(
    account: Account, admin: httpx.AsyncClient, jobs_api: JobsApi, kind: str
) -> None:
    await jobs_api.submit(kind, account.user_id)
    (job,) = await jobs_api.claim(kind)
    message = f"The platform {kind[-8:]} refused the import."
    error = jobs_server.failed("import_refused")
    error.error.message = message
    await jobs_api.finish(job, failed=error)
    for text, path in (
        (job.job_id.upper(), f"/jobs/{job.job_id}"),
        (account.user_id, f"/admin/users/{account.user_id}"),
        (account.email.upper(), f"/admin/users/{account.user_id}"),
        (kind.upper(), f"/admin/kinds/{kind}"),
        (f"  {message.lower()} ", f"/jobs/{job.job_id}"),
    ):
        answer = await admin.get("/admin/search", params={"q": text})
        assert (answer.status_code, answer.headers.get("location")) == (303, path), text
    found = (await admin.get("/api/v1/admin/search", params={"q": job.job_id})).json()
    assert [(hit["type"], hit["path"]) for hit in found["hits"]] == [("job", f"/jobs/{job.job_id}")]


async def test_search_shows_several_hits_and_none(
    account: Account, admin: httpx.AsyncClient, jobs_api: JobsApi, kind: str
) -> None:
    for _ in range(2):
        await jobs_api.submit(kind, account.user_id)
    message = f"The network {kind[-8:]} was down."
    jobs = await jobs_api.claim(kind, limit=2)
    for job in jobs:
        error = jobs_server.failed("network_down")
        error.error.message = message
        await jobs_api.finish(job, failed=error)
    page = await probe(admin, f"/admin/search?q={message}")
    assert {f"/jobs/{job.job_id}" for job in jobs} <= set(page.links)
    assert "2 failed jobs" in page.text and "Errors" in page.text
    for nothing in ("", "no such text anywhere", "\x00", "%", str(uuid4())):
        answer = await admin.get("/admin/search", params={"q": nothing}, headers=HTML)
        assert answer.status_code == 200, nothing
    assert "No results" in (await probe(admin, "/admin/search?q=no+such+text+anywhere")).text
    # The id of a request that no job has: the jobs of its time.
    request_id = str(ids.uuid7())
    late = await jobs_api.submit(kind, account.user_id)
    page = await probe(admin, f"/admin/search?q={request_id}")
    assert f"/jobs/{late.job_id}" in page.links
    assert "may be the ID of a request" in page.text
    # The id of a request whose trace was recorded: its jobs alone.
    trace_id = ids.uuid7().hex
    traced = await jobs_api.submit(kind, account.user_id, traceparent=f"00-{trace_id}-00f067aa0ba902b7-01")
    page = await probe(admin, f"/admin/search?q={trace_id}")
    assert f"/jobs/{traced.job_id}" in page.links and f"/jobs/{late.job_id}" not in page.links
    assert f"https://traces.example.org/{trace_id}?tab=all" in (await probe(admin, f"/jobs/{traced.job_id}")).links
    assert trace_id not in (await account.http.get(f"/jobs/{traced.job_id}", headers=HTML)).text


async def test_stuck_jobs_are_grouped_with_a_change_of_all(
    account: Account, admin: httpx.AsyncClient, jobs_api: JobsApi, kind: str
) -> None:
    jobs = [await jobs_api.submit(kind, account.user_id) for _ in range(7)]
    assert (await admin.post(f"/api/v1/admin/kinds/{kind}/pause")).status_code == 200
    page = await probe(admin, "/admin/stuck")
    assert "7 jobs" in page.text
    links = [link for link in page.links if link.removeprefix("/jobs/") in {job.job_id for job in jobs}]
    assert len(links) == 5
    assert f"/admin/jobs?system=yes&state=waiting&kind={kind}" in page.links
    await admin.post(f"/api/v1/admin/kinds/{kind}/resume")


async def test_sign_outs_and_roles_are_confirmed_with_numbers(
    register: Callable[..., Awaitable[Account]], admin: httpx.AsyncClient
) -> None:
    account = await register()
    count = (await admin.get("/api/v1/admin/sessions/count")).json()
    assert count["count"] >= 2 and count["user_count"] >= 2 and not count["has_more"]
    page = await probe(admin, "/admin/users")
    assert "/admin/users/confirm/sign-out-all-users" in page.links
    page = await probe(admin, "/admin/users/confirm/sign-out-all-users")
    assert "Sign out all users?" in page.text and " users end" in page.text
    assert page.forms["/admin/users/sign-out-all-users"]["confirmed"] == "yes"
    path = f"/admin/users/{account.user_id}"
    page = await probe(admin, f"{path}/confirm/sign-out")
    assert "1 session ends now, and all API tokens." in page.text
    page = await press(admin, page, f"{path}/sign-out")
    assert "Signed out there." in page.text
    assert (await account.http.get("/api/v1/auth/me")).status_code == 401
    await press(admin, await probe(admin, f"{path}/confirm/role"), f"{path}/role")
    page = await probe(admin, f"{path}/confirm/role")
    assert f"Revoke admin rights of {account.email}?" in page.text
    assert page.forms[f"{path}/role"]["role"] == "user"


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
    page = await probe(admin, path)
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

    page = await probe(admin, f"/jobs/{job_id}")
    (link,) = [link for link in page.links if "?replay=" in link]
    assert "?replay=" not in " ".join((await probe(account.http, f"/jobs/{job_id}")).links)
    page = await probe(admin, link)
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
    page = await probe(admin, "/admin/kinds/jobs.bulk")
    assert "operators cannot" in page.text and "/admin/kinds/jobs.bulk/run" not in page.forms
    assert (await admin.get(f"/admin/kinds/{kind}?replay=nonsense")).status_code == 404
    assert (await account.http.get(f"/admin/kinds/{kind}", headers=HTML)).status_code == 404
    assert (await account.http.post(f"/admin/kinds/{kind}/run", data={})).status_code == 404


async def test_operators_make_change_and_delete_schedules(
    account: Account, admin: httpx.AsyncClient, jobs_api: JobsApi, described: str
) -> None:
    name, path = f"operator.{described[-8:]}", f"/admin/kinds/{described}"
    page = await probe(admin, path)
    page.forms[f"{path}/schedule"] = page.forms[f"{path}/run"]
    values = {"payload.names": "Ada", "payload.token": "secret", "payload.language": "en", "cron": "0 3 * * *"}
    values |= {"time_zone": "Europe/Berlin", "overlap": "queue", "name": name}
    for wrong, field in (({"cron": "x"}, "cron"), ({"time_zone": "Mars"}, "time_zone"), ({"name": "mine"}, "name")):
        answer = await submit(admin, page, f"{path}/schedule", **{**values, **wrong})
        assert (answer.status_code, f"{field}-error" in answer.text) == (422, True), wrong
    shown = await press(admin, page, f"{path}/schedule", **values)
    assert "Schedule saved." in shown.text and "Europe/Berlin" in shown.text
    assert "secret" not in shown.text
    again = await submit(admin, page, f"{path}/schedule", **values)
    assert "Choose another name." in Page(again).text

    address = f"/admin/schedules/{name}"
    changes = {"payload.names": "Ada\nGrace", "payload.language": "de", "cron": "*/5 * * * *", "time_zone": "UTC"}
    shown = await press(admin, shown, f"{address}/save", **changes, overlap="skip", **{"payload.token": ""})
    details = (await admin.get(f"/api/v1{address}")).json()
    assert (details["schedule"]["cron"], details["schedule"]["is_of_operator"]) == ("*/5 * * * *", True)
    assert (len(details["next_at"]), len(details["runs"])) == (5, 10)
    assert details["payload"] == {"names": ["Ada", "Grace"], "language": "de", "token": "•••"}
    # The empty sensitive field kept its value.
    job_id = str(ids.uuid7())
    answer = await submit(admin, await probe(admin, address), "/admin/schedules/trigger", job_id=job_id)
    assert answer.headers["location"] == f"/jobs/{job_id}"
    (job,) = await jobs_api.claim(described)
    assert job.spec.payload["token"] == "secret"
    # A worker that registers again changes nothing about it.
    await jobs_api.register(kind_pb2.KindRegistration(kind=described))
    assert name in (await probe(admin, "/admin/schedules")).text

    page = await probe(admin, f"{address}/confirm")
    assert f"Delete {name}?" in page.text
    assert "Schedule deleted." in (await press(admin, page, f"{address}/delete")).text
    assert (await admin.get(f"/api/v1{address}")).status_code == 404
    assert (await admin.get(address)).status_code == 404
    assert (await account.http.get(address, headers=HTML)).status_code == 404


async def test_schedules_of_workers_are_shown_but_not_changed(demo_target: str, admin: httpx.AsyncClient) -> None:
    page = await probe(admin, "/admin/schedules/demo.expire")
    assert "Workers register this schedule." in page.text and "Past times" in page.text
    assert "/admin/schedules/demo.expire/save" not in page.forms
    answer = await admin.delete("/api/v1/admin/schedules/demo.expire")
    assert (answer.status_code, answer.json()["code"]) == (409, "schedule_registered")
    body = {"kind": "demo.expire", "cron": "* * * * *"}
    answer = await admin.put("/api/v1/admin/schedules/demo.expire", json=body)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "name")
