"""Jobs of all users on pages and in the API of admins: lists, changes of one or many, errors."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable

import httpx
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import ids
from gateway.views import engine
from services.jobs.operators import change_log
from tests.integration.gateway.conftest import Account
from tests.integration.gateway.html import HTML, open_page, press
from tests.integration.jobs import jobs_server
from tests.integration.jobs.jobs_server import JobsApi


async def test_admins_cancel_and_retry_jobs_of_all_users(
    register: Callable[..., Awaitable[Account]], admin: httpx.AsyncClient, jobs_api: JobsApi, kind: str
) -> None:
    user, stranger = await register(), await register()
    job, other = await jobs_api.submit(kind, user.user_id), await jobs_api.submit(kind, stranger.user_id)
    page = await open_page(admin, f"/admin/jobs?kind={kind}")
    assert {f"/jobs/{job.job_id}", f"/jobs/{other.job_id}"} <= set(page.links)
    assert user.email in page.text and stranger.email in page.text
    assert "2 jobs of 2 users" in page.text
    for owner in (user.user_id, user.email.upper()):
        page = await open_page(admin, f"/admin/jobs?owner={owner}")
        assert f"/jobs/{job.job_id}" in page.links, owner
        assert f"/jobs/{other.job_id}" not in page.links, owner
    for owner in ("nonsense", user.email[:-1]):
        assert "No matching jobs" in (await open_page(admin, f"/admin/jobs?owner={owner}")).text, owner

    page = await press(admin, page, "/admin/jobs/cancel", job_id=job.job_id)
    assert "Job cancelled: " in page.text
    page = await press(admin, page, "/admin/jobs/retry", job_id=job.job_id)
    assert "Retry queued: " in page.text
    page = await open_page(admin, f"/jobs/{job.job_id}")
    assert user.email in page.text and f"/admin/users/{user.user_id}" in page.links
    assert "Retry requested" in (await open_page(user.http, f"/jobs/{job.job_id}")).text
    lost = await press(
        admin, await open_page(admin, f"/admin/jobs?kind={kind}"), "/admin/jobs/cancel", job_id=str(ids.uuid7())
    )
    assert "This job no longer exists" in lost.text


async def test_jobs_are_filtered_sorted_and_paged_by_the_address(
    account: Account, admin: httpx.AsyncClient, jobs_api: JobsApi, kind: str
) -> None:
    job_ids = [(await jobs_api.submit(kind, account.user_id)).job_id for _ in range(21)]
    system = await jobs_api.submit(kind, engine.SYSTEM)
    (failed,) = await jobs_api.claim(kind)
    await jobs_api.finish(failed, failed=jobs_server.failed("imported_nothing"))

    async def listed_jobs(query: str) -> list[str]:
        links = (await open_page(admin, f"/admin/jobs?kind={kind}{query}")).links
        return [
            link.removeprefix("/jobs/") for link in links if link.removeprefix("/jobs/") in {*job_ids, system.job_id}
        ]

    assert await listed_jobs("") == job_ids[::-1]
    assert await listed_jobs("&system=yes") == [system.job_id, *job_ids[::-1]]
    assert await listed_jobs("&order=oldest") == job_ids
    assert await listed_jobs("&state=failed") == [failed.job_id]
    assert await listed_jobs("&code=imported_nothing&since=1h") == [failed.job_id]
    assert await listed_jobs("&text=did+not+work") == [failed.job_id]
    assert await listed_jobs(f"&worker={jobs_server.WORKER}") == [failed.job_id]
    assert await listed_jobs("&before=2020-01-01T00:00") == []
    assert await listed_jobs("&state=nonsense&since=x&order=x&size=7&after=x") == job_ids[::-1]
    assert set(await listed_jobs("&order=run")) == {failed.job_id}

    first = await open_page(admin, f"/admin/jobs?kind={kind}&size=20")
    (following,) = [link for link in first.links if "page_token" in link]
    second = await open_page(admin, following)
    assert [link for link in second.links if link == f"/jobs/{job_ids[0]}"]
    assert "21 jobs of 1 user" in second.text
    (preceding,) = [link for link in second.links if "page_token" in link]
    assert [link for link in (await open_page(admin, preceding)).links if link.startswith("/jobs/")] == [
        link for link in first.links if link.startswith("/jobs/")
    ]
    stale = await admin.get(following.replace("size=20", "size=20&state=failed"))
    assert stale.headers["location"] == f"/admin/jobs?state=failed&kind={kind}&size=20"
    assert (await admin.get(f"/admin/jobs?text={job_ids[3]}")).headers["location"] == f"/jobs/{job_ids[3]}"


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
        page = await open_page(admin, f"/admin{span}")
        assert f"/admin/errors?kind={kind}" in page.links, span
        assert f"/admin/jobs?system=yes&kind={kind}" in page.links, span
    page = await open_page(admin, f"/admin/errors?kind={kind}")
    links = {link for link in page.links if f"kind={kind}" in link}
    (link,) = {link for link in links if link.startswith("/admin/jobs?")}
    (retry,) = links - {link}
    assert "Retry 2 jobs?" in (await open_page(admin, retry)).text
    assert "import_refused" in page.text
    jobs = await open_page(admin, link)
    assert "2 jobs of 1 user" in jobs.text
    assert "No failed jobs" in (await open_page(admin, "/admin/errors?kind=demo.none")).text
    assert "No failed jobs" in (await open_page(admin, "/admin/errors?kind=No+Kind")).text
    for span, points in (("hour", 60), ("day", 24), ("week", 168)):
        rates = (await admin.get("/api/v1/admin/rates", params={"span": span})).json()
        assert len(rates["total"]["points"]) == points
        assert rates["total"]["kind"] == "*"


async def test_failed_jobs_are_retried_together_after_a_confirmation(
    account: Account, admin: httpx.AsyncClient, jobs_api: JobsApi, kind: str
) -> None:
    job_ids = [(await jobs_api.submit(kind, account.user_id)).job_id for _ in range(3)]
    for job in await jobs_api.claim(kind, limit=2):
        await jobs_api.finish(job, failed=jobs_server.failed("import_refused"))
    page = await open_page(admin, f"/admin/jobs?state=failed&kind={kind}")
    (link,) = [link for link in page.links if link.startswith("/admin/jobs/bulk")]
    page = await open_page(admin, link)
    assert "Retry 2 jobs?" in page.text
    assert "They belong to 1 user." in page.text
    page = await press(admin, page, "/admin/jobs/bulk/start", per_second="100")
    assert "Change many jobs" in page.text
    async with asyncio.timeout(60):
        while (await admin.get("/api/v1/admin/jobs/count", params={"kind": kind, "status": "failed"})).json()["count"]:
            await asyncio.sleep(0.1)
    assert {job.job_id for job in await jobs_api.claim(kind, limit=3)} == set(job_ids)

    counted = await admin.post(
        "/api/v1/admin/jobs/change",
        params={"kind": kind, "without_kind": "demo.other"},
        json={"change": "cancel", "dry_run": True},
    )
    assert (counted.status_code, counted.json()["job"], counted.json()["counts"]["count"]) == (202, None, 3)
    response = await admin.get(f"/admin/jobs/bulk?change=cancel&state=failed&kind={kind}")
    assert response.headers["location"] == f"/admin/jobs?state=failed&kind={kind}"
    assert (await account.http.get(f"/admin/jobs/bulk?change=retry&kind={kind}", headers=HTML)).status_code == 404
    assert (await account.http.post("/api/v1/admin/jobs/change", json={"change": "retry"})).status_code == 403


async def test_a_job_is_held_and_released_by_the_api_and_names_the_admin(
    account: Account, admin: httpx.AsyncClient, jobs_api: JobsApi, kind: str
) -> None:
    job = await jobs_api.submit(kind, account.user_id)
    path = f"/api/v1/admin/jobs/{job.job_id}"
    for action in ("hold", "release"):
        assert (await account.http.post(f"{path}/{action}")).status_code == 403
    held = await admin.post(f"{path}/hold")
    assert (held.status_code, held.json()["status"], held.json()["on_hold"]) == (202, "scheduled", True)
    own = (await account.http.get(f"/api/v1/jobs/{job.job_id}")).json()
    assert (own["on_hold"], own["next_run_at"], own["cancellable"]) == (True, None, True)
    for on_hold in (True, False):
        query = {"kind": kind, "on_hold": on_hold}
        counts = (await admin.get("/api/v1/admin/jobs/count", params=query)).json()
        assert counts["count"] == 1, on_hold
    admin_id = (await admin.get("/api/v1/auth/me")).json()["user_id"]
    (change,) = (await admin.get(f"{path}/record")).json()["changes"]
    assert (change["change"], change["actor_id"]) == ("hold", admin_id)
    assert (await jobs_api.claim(kind)) == []
    released = (await admin.post(f"{path}/release")).json()
    assert released["on_hold"] is False
    assert (await admin.post(f"/api/v1/admin/jobs/{ids.uuid7()}/hold")).json()["code"] == "job_not_found"
    await account.http.post(f"/api/v1/jobs/{job.job_id}/cancel")
    refused = await admin.post(f"{path}/hold")
    assert (refused.status_code, refused.json()["code"]) == (409, "job_not_holdable")


async def test_jobs_are_held_and_released_on_pages(
    account: Account,
    admin: httpx.AsyncClient,
    jobs_api: JobsApi,
    kind: str,
    database: Callable[[str], AsyncEngine],
) -> None:
    jobs = [await jobs_api.submit(kind, account.user_id) for _ in range(3)]
    path = f"/jobs/{jobs[0].job_id}"
    owners = await open_page(account.http, path)
    assert f"{path}/hold" not in owners.forms
    page = await press(admin, await open_page(admin, path), f"{path}/hold")
    me = (await admin.get("/api/v1/auth/me")).json()
    assert "On hold: " in page.text and f"by {me['email']}" in page.text
    async with database("jobs").begin() as conn:
        # As the erasure of the admin does. Other tests have left changes of the same admin.
        await change_log.JOBS.forget_actor(conn, uuid.UUID(me["user_id"]), limit=1_000)
    page = await open_page(admin, path)
    assert "releases it. Put on hold just now" in page.text and "just now by" not in page.text
    owners = await open_page(account.http, path)
    assert "This job is on hold. It starts when an admin releases it." in owners.text
    assert "admin releases it. Put on hold" not in owners.text and f"{path}/release" not in owners.forms
    assert f"{path}/cancel" in owners.forms
    assert "Put on hold" in owners.text  # its timeline
    assert "On hold" in (await open_page(account.http, "/jobs")).text

    waiting = await open_page(admin, f"/admin/jobs?kind={kind}&state=active")
    (hold,) = [link for link in waiting.links if link.endswith("change=hold")]
    confirmation = await open_page(admin, hold)
    assert "Put 2 jobs on hold?" in confirmation.text
    job = await press(admin, confirmation, "/admin/jobs/bulk/start", per_second="100")
    assert "Change many jobs" in job.text

    async def count(status: str) -> int:
        query: dict[str, str | bool] = {"kind": kind, "status": status, "on_hold": status == "scheduled"}
        return int((await admin.get("/api/v1/admin/jobs/count", params=query)).json()["count"])

    async with asyncio.timeout(60):
        while await count("scheduled") < 3:
            await asyncio.sleep(0.1)
    listed = await open_page(admin, f"/admin/jobs?kind={kind}&state=on_hold")
    assert "3 jobs of 1 user" in listed.text
    listed = await press(admin, listed, "/admin/jobs/release", job_id=jobs[1].job_id)
    assert "Released: " in listed.text
    (release,) = [link for link in listed.links if link.endswith("change=release")]
    confirmation = await open_page(admin, release)
    assert "Release 2 jobs?" in confirmation.text
    await press(admin, confirmation, "/admin/jobs/bulk/start", per_second="100")
    async with asyncio.timeout(60):
        while await count("pending") < 3:
            await asyncio.sleep(0.1)
    nothing = await open_page(admin, f"/admin/jobs/bulk?kind={kind}&change=release")
    assert "No job can be released" in nothing.text


async def test_stuck_jobs_are_grouped_with_a_change_of_all(
    account: Account, admin: httpx.AsyncClient, jobs_api: JobsApi, kind: str
) -> None:
    jobs = [await jobs_api.submit(kind, account.user_id) for _ in range(7)]
    assert (await admin.post(f"/api/v1/admin/kinds/{kind}/pause")).status_code == 200
    page = await open_page(admin, "/admin/stuck")
    assert "7 jobs" in page.text
    links = [link for link in page.links if link.removeprefix("/jobs/") in {job.job_id for job in jobs}]
    assert len(links) == 5
    assert f"/admin/jobs?system=yes&problem=paused&kind={kind}" in page.links
    page = await open_page(admin, f"/admin/jobs/bulk?system=yes&problem=paused&kind={kind}&change=cancel")
    assert "Cancel 7 jobs?" in page.text
    await admin.post(f"/api/v1/admin/kinds/{kind}/resume")
