"""Pages and API for admins: access, workers, accounts, search. Other users get 404."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import pyotp

from chassis import ids
from tests.integration.gateway.conftest import Account
from tests.integration.gateway.html import HTML, Page, open_page, press
from tests.integration.jobs import jobs_server
from tests.integration.jobs.jobs_server import JobsApi

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
    missing = await account.http.get("/admin", headers=HTML)
    assert missing.status_code == 404
    assert not [link for link in Page(missing).links if link.startswith("/admin/")]
    assert "/admin" not in (await open_page(account.http, "/jobs")).links
    assert "/admin" in (await open_page(admin, "/jobs")).links


async def test_workers_are_listed(
    admin: httpx.AsyncClient, kind: str, eventually: Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]
) -> None:
    async def of_jobs() -> list[dict[str, Any]]:
        workers = (await admin.get("/api/v1/admin/workers")).json()["workers"]
        return [worker for worker in workers if worker["worker"].startswith("jobs-")]

    async def is_registered() -> bool:
        return bool(await of_jobs())

    await eventually(is_registered)
    page = await open_page(admin, "/admin/workers")
    assert jobs_server.WORKER in page.text
    workers = (await admin.get("/api/v1/admin/workers")).json()["workers"]
    assert jobs_server.WORKER in {worker["worker"] for worker in workers}
    (group,) = await of_jobs()
    assert (group["concurrency"], group["held_count"], group["held_jobs"]) == (
        4,
        len(group["held_jobs"]),
        group["held_jobs"],
    )
    assert group["host"] and group["version"] and group["started_at"]


async def test_accounts_are_searched_disabled_and_enabled(
    register: Callable[..., Awaitable[Account]], admin: httpx.AsyncClient
) -> None:
    account = await register()
    page = await open_page(admin, f"/admin/users?email={account.email[:12].upper()}")
    path = f"/admin/users/{account.user_id}"
    assert path in page.links
    assert "1 account " in page.text
    assert "No matching users" in (await open_page(admin, "/admin/users?email=nobody-at-all")).text
    assert not {f"{path}/disable", f"{path}/role"} & (await open_page(admin, path)).forms.keys()
    page = await open_page(admin, f"{path}/confirm/disable")
    assert "1 session ends now, and all API tokens." in page.text
    assert "0 unfinished jobs of theirs will still run." in page.text
    page = await press(admin, page, f"{path}/disable")
    assert "Account disabled." in page.text
    assert (await account.http.get("/api/v1/auth/me")).status_code == 401
    page = await press(admin, page, f"{path}/enable")
    assert "Account enabled." in page.text
    page = await press(admin, await open_page(admin, f"{path}/confirm/role"), f"{path}/role")
    assert "Revoke admin" in page.text
    assert (await admin.get(f"{path}/confirm/nothing")).status_code == 404
    for user in (account.user_id, account.email.upper()):
        events = await open_page(admin, f"/admin/security-events?user={quote(user)}")
        assert path in events.links
        assert f"Account created {account.email}" in events.text
        assert re.search(r"\b[1-9]\d* events\b", events.text)
        oldest_first = await open_page(admin, f"/admin/security-events?user={quote(user)}&order=oldest")
        assert oldest_first.text.index("Account created") < oldest_first.text.index("Account disabled")
    longest = f"{'x' * 64}@{'example.' * 22}example.com"
    for user in ("nobody@example.com", longest):
        events = await open_page(admin, f"/admin/security-events?user={user}")
        assert "No matching events" in events.text
        assert user in {field.get("value") for field in events.attributes.values()}
    for missing in (ids.uuid7(), "nonsense"):
        assert (await admin.get(f"/admin/users/{missing}")).status_code == 404
    assert "No matching events" in (await open_page(admin, "/admin/security-events?user=nonsense")).text


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
    results = (await admin.get("/api/v1/admin/search", params={"q": job.job_id})).json()
    assert [(hit["type"], hit["path"]) for hit in results["hits"]] == [("job", f"/jobs/{job.job_id}")]


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
    page = await open_page(admin, f"/admin/search?q={message}")
    assert {f"/jobs/{job.job_id}" for job in jobs} <= set(page.links)
    assert "2 failed jobs" in page.text and "Errors" in page.text
    beyond_time = "ffffffff-ffff-7fff-bfff-ffffffffffff"
    for nothing in ("", "no such text anywhere", "\x00", "%", str(uuid4()), beyond_time, beyond_time.replace("-", "")):
        answer = await admin.get("/admin/search", params={"q": nothing}, headers=HTML)
        assert answer.status_code == 200, nothing
    assert "No results" in (await open_page(admin, "/admin/search?q=no+such+text+anywhere")).text
    # The id of a request that no job has: the jobs of its time.
    request_id = str(ids.uuid7())
    late = await jobs_api.submit(kind, account.user_id)
    page = await open_page(admin, f"/admin/search?q={request_id}")
    assert f"/jobs/{late.job_id}" in page.links
    assert "may be the ID of a request" in page.text
    # The id of a request whose trace was recorded: its jobs alone.
    trace_id = ids.uuid7().hex
    traced = await jobs_api.submit(kind, account.user_id, traceparent=f"00-{trace_id}-00f067aa0ba902b7-01")
    page = await open_page(admin, f"/admin/search?q={trace_id}")
    assert f"/jobs/{traced.job_id}" in page.links and f"/jobs/{late.job_id}" not in page.links
    assert f"https://traces.example.org/{trace_id}?tab=all" in (await open_page(admin, f"/jobs/{traced.job_id}")).links
    assert trace_id not in (await account.http.get(f"/jobs/{traced.job_id}", headers=HTML)).text


async def test_sign_outs_and_roles_are_confirmed_with_numbers(
    register: Callable[..., Awaitable[Account]], admin: httpx.AsyncClient
) -> None:
    account = await register()
    count = (await admin.get("/api/v1/admin/sessions/count")).json()
    assert count["count"] >= 2 and count["user_count"] >= 2 and not count["has_more"]
    page = await open_page(admin, "/admin/users")
    assert "/admin/users/confirm/sign-out-all-users" in page.links
    page = await open_page(admin, "/admin/users/confirm/sign-out-all-users")
    assert "Sign out all users?" in page.text and " users end" in page.text
    assert page.forms["/admin/users/sign-out-all-users"]["confirmed"] == "yes"
    path = f"/admin/users/{account.user_id}"
    page = await open_page(admin, f"{path}/confirm/sign-out")
    assert "1 session ends now, and all API tokens." in page.text
    page = await press(admin, page, f"{path}/sign-out")
    assert "The user is signed out on all devices." in page.text
    assert (await account.http.get("/api/v1/auth/me")).status_code == 401
    await press(admin, await open_page(admin, f"{path}/confirm/role"), f"{path}/role")
    page = await open_page(admin, f"{path}/confirm/role")
    assert f"Revoke admin rights of {account.email}?" in page.text
    assert page.forms[f"{path}/role"]["role"] == "user"


async def test_two_step_verification_of_a_user_is_turned_off(
    register: Callable[..., Awaitable[Account]], admin: httpx.AsyncClient
) -> None:
    account = await register()
    path = f"/admin/users/{account.user_id}"
    confirmation = f"{path}/confirm/remove-second-factor"
    assert confirmation not in (await open_page(admin, path)).links
    secret = (await account.http.post("/api/v1/auth/totp")).json()["secret"]
    await account.http.post("/api/v1/auth/totp/confirm", json={"code": pyotp.TOTP(secret).now()})
    assert confirmation in (await open_page(admin, path)).links
    page = await open_page(admin, confirmation)
    assert f"Turn off two-step verification of {account.email}?" in page.text
    page = await press(admin, page, f"{path}/remove-second-factor")
    assert "Two-step verification is off." in page.text
    assert confirmation not in page.links
    assert (await account.http.get("/api/v1/auth/me")).status_code == 401
