"""Notifications over HTTP: ended jobs until they are marked as read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import httpx
import pytest

from chassis import ids
from repruv.jobs.v1 import admin_service_pb2, kind_pb2
from tests.integration.gateway.conftest import Account
from tests.integration.jobs import jobs_server
from tests.integration.jobs.jobs_server import JobsApi

PATH = "/api/v1/notifications"


@pytest.fixture
async def end(jobs_api: JobsApi) -> Callable[..., Awaitable[str]]:
    """Return a function that runs a job with notification to its end."""
    kind = f"demo.{uuid4().hex}"
    await jobs_api.register(kind_pb2.KindRegistration(kind=kind, notify_owner=True))

    async def run(account: Account, **outcome: Any) -> str:
        await jobs_api.submit(kind, account.user_id)
        (claimed_job,) = await jobs_api.claim(kind)
        return (await jobs_api.finish(claimed_job, **outcome)).job_id

    return run


async def unread(account: Account, **query: Any) -> Any:
    """Return the unread notifications of the user."""
    answer = await account.http.get(PATH, params=query)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "private, no-store"
    return answer.json()


async def test_ended_jobs_are_notifications_until_read(account: Account, end: Callable[..., Awaitable[str]]) -> None:
    completed = await end(account)
    failed = await end(account, failed=jobs_server.failed("mailbox_full"))
    unread_page = await unread(account)
    assert (unread_page["unread_count"], unread_page["next_page_token"]) == (2, "")
    latest, earlier = unread_page["notifications"]
    assert (latest["notification_id"], latest["job_id"], latest["status"]) == (failed, failed, "failed")
    assert (latest["message"], latest["error"]["code"], latest["read"]) == ("It did not work.", "mailbox_full", False)
    assert (earlier["job_id"], earlier["status"], earlier["error"]) == (completed, "completed", None)
    assert (await account.http.get(f"/api/v1/jobs/{failed}")).json()["finished_at"] == latest["finished_at"]

    for _ in range(2):
        read = await account.http.post(f"{PATH}/{failed}/read")
        assert (read.status_code, read.content) == (204, b"")
    assert [item["job_id"] for item in (await unread(account))["notifications"]] == [completed]
    assert (await account.http.post(f"{PATH}/read-all")).status_code == 204
    assert await unread(account) == {"notifications": [], "unread_count": 0, "next_page_token": ""}


async def test_pages_follow_each_other(account: Account, end: Callable[..., Awaitable[str]]) -> None:
    ended_ids = [await end(account) for _ in range(3)]
    first = await unread(account, page_size=2)
    rest = await unread(account, page_size=2, page_token=first["next_page_token"])
    listed_ids = [item["job_id"] for page in (first, rest) for item in page["notifications"]]
    assert (listed_ids, first["unread_count"], rest["next_page_token"]) == (ended_ids[::-1], 3, "")


async def test_users_read_and_mark_only_their_own_notifications(
    register: Callable[..., Awaitable[Account]], end: Callable[..., Awaitable[str]]
) -> None:
    owner, stranger = await register(), await register()
    job_id = await end(owner)
    assert (await unread(stranger))["notifications"] == []
    assert (await stranger.http.post(f"{PATH}/{job_id}/read")).status_code == 204
    assert (await stranger.http.post(f"{PATH}/read-all")).status_code == 204
    assert [item["job_id"] for item in (await unread(owner))["notifications"]] == [job_id]


async def test_invalid_requests_are_refused(account: Account, url: str) -> None:
    assert (await account.http.get(PATH, params={"page_size": 0})).status_code == 422
    wrong = (await account.http.get(PATH, params={"page_token": "x"})).json()
    assert (wrong["status"], wrong["errors"][0]["field"]) == (422, "page_token")
    assert (await account.http.post(f"{PATH}/not-an-id/read")).status_code == 404
    assert (await account.http.post(f"{PATH}/{ids.uuid7()}/read")).status_code == 204
    async with httpx.AsyncClient(base_url=url) as nobody:
        assert (await nobody.get(PATH)).status_code == 401
        assert (await nobody.post(f"{PATH}/read-all")).status_code == 401
        foreign = {"Origin": "https://elsewhere.example", "Cookie": "session=x"}
        assert (await nobody.post(f"{PATH}/read-all", headers=foreign)).status_code == 403


async def test_jobs_can_be_listed_by_their_parent(account: Account, jobs_api: JobsApi) -> None:
    kind = f"demo.{uuid4().hex}"
    parent = await jobs_api.submit(kind, account.user_id)
    child = await jobs_api.submit(kind, account.user_id, parent_id=parent.job_id)
    listed = (await account.http.get("/api/v1/jobs", params={"parent_id": parent.job_id})).json()["jobs"]
    assert [(job["job_id"], job["parent_id"], job["children"]) for job in listed] == [
        (child.job_id, parent.job_id, None)
    ]
    body = (await account.http.get(f"/api/v1/jobs/{parent.job_id}")).json()
    assert body["children"] == {"total": 1, "ended": 0, "unsuccessful": 0}
    wrong = (await account.http.get("/api/v1/jobs", params={"parent_id": "x"})).json()
    assert (wrong["status"], wrong["errors"][0]["field"]) == (422, "parent_id")


async def test_finished_demo_mode_notifies_its_owner(
    account: Account, jobs_api: JobsApi, eventually: Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]
) -> None:
    async def is_registered() -> bool:
        request = admin_service_pb2.ListKindsRequest()
        kinds = (await jobs_api.call(jobs_api.admin.ListKinds, request, service="jobs")).kinds
        return any(kind.kind == "demo.enable" and kind.registration.notify_owner for kind in kinds)

    await eventually(is_registered)
    options = {"profile_type": "creator", "niche": "auto", "content_count": 1, "interaction_count": 1}
    job_id = (await account.http.post("/api/v1/demo/enable", json=options)).json()["job_id"]

    async def is_told() -> bool:
        return [item["job_id"] for item in (await unread(account))["notifications"]] == [job_id]

    await eventually(is_told)
