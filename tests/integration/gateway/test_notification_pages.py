"""Unread notifications: the bell on every page, and their page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast
from uuid import uuid4

import pytest

from gateway.pages import notices
from repruv.jobs.v1 import kind_pb2
from tests.integration.gateway.conftest import Account
from tests.integration.gateway.html import Page, submit
from tests.integration.jobs import jobs_server
from tests.integration.jobs.jobs_server import JobsApi

PATH = "/notifications"
READ = f"{PATH}/read"
End = Callable[..., Awaitable[str]]


@pytest.fixture
async def end(jobs_api: JobsApi) -> End:
    """Return a function that runs a job with notification to its end."""
    any_kind = f"demo.{uuid4().hex}"

    async def run(account: Account, kind: str = any_kind, **outcome: Any) -> str:
        await jobs_api.register(kind_pb2.KindRegistration(kind=kind, notify_owner=True))
        await jobs_api.submit(kind, account.user_id)
        (claimed_job,) = await jobs_api.claim(kind)
        return (await jobs_api.finish(claimed_job, **outcome)).job_id

    return run


async def probe(account: Account, path: str = PATH) -> Page:
    answer = await account.http.get(path, headers={"Accept": "text/html"})
    assert answer.status_code == 200, answer.text
    return Page(answer)


async def test_bell_counts_unread_notifications(account: Account, end: End) -> None:
    assert "unread" not in (await probe(account, "/settings/demo-mode")).text
    assert "You’re all caught up" in (await probe(account)).text
    completed = await end(account)
    failed = await end(account, failed=jobs_server.failed("mailbox_full"))
    for path in ("/settings/demo-mode", "/jobs"):
        assert "Notifications: 2 unread" in (await probe(account, path)).text
    page = await probe(account)
    assert page.attributes["bell"]["data-latest"] == failed
    assert "It did not work." in page.text
    assert {f"/jobs/{completed}", f"/jobs/{failed}"} <= set(page.links)


async def test_the_page_of_a_job_marks_its_notification_as_read(account: Account, end: End) -> None:
    older = [await end(account) for _ in range(5)]
    job_id = await end(account)
    hidden = await account.http.get(f"/jobs/{job_id}", headers={"X-Fragment": "status", "X-Background": "1"})
    assert Page(hidden).attributes["bell"]["data-count"] == "6"
    # The oldest is not among the latest five, which a page has.
    for opened_id, left, latest in ((older[0], "5", job_id), (job_id, "4", older[-1])):
        for path in (f"/jobs/{opened_id}", "/jobs"):
            bell = (await probe(account, path)).attributes["bell"]
            assert (bell["data-count"], bell["data-latest"]) == (left, latest)


async def test_pages_show_no_notices_of_muted_categories(
    account: Account, end: End, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A worker of the stack would take a real export.
    kind = f"demo.{uuid4().hex}"
    monkeypatch.setitem(cast("dict[str, Any]", notices.CATEGORIES), "exports", (kind,))
    other = await end(account)
    export = await end(account, kind=kind)
    for settings, visible, text in (
        ({"muted_notices": ["exports"]}, {other}, "except exports."),
        ({"muted_notices": ["other", "demo_mode"]}, {export}, "except demo mode, other jobs."),
        ({"muted_notices": [], "page_notices": False}, set(), "Notifications are off"),
        ({"page_notices": True}, {other, export}, "2 unread"),
    ):
        await account.http.patch("/api/v1/auth/notification-settings", json=settings)
        for path in ("/dashboard", "/jobs", PATH):
            latest = (page := await probe(account, path)).attributes["bell"].get("data-latest")
            assert latest == max(visible, default=None)
        assert {job_id for job_id in (other, export) if f"/jobs/{job_id}" in page.links} == visible
        assert text in page.text


async def test_marking_one_and_all_as_read(account: Account, end: End) -> None:
    earlier, latest = await end(account), await end(account)
    page = await probe(account)
    answer = await submit(account.http, page, READ, job_id=earlier)
    assert (answer.status_code, answer.headers["location"]) == (303, PATH)
    page = await probe(account)
    assert f"/jobs/{latest}" in page.links
    assert f"/jobs/{earlier}" not in page.links
    twice = await submit(account.http, page, READ, job_id=earlier, origin="/jobs")
    assert (twice.status_code, twice.headers["location"]) == (303, "/jobs")
    everything = await submit(account.http, page, READ, job_id="", origin="https://elsewhere.example")
    assert (everything.status_code, everything.headers["location"]) == (303, PATH)
    assert "You’re all caught up" in (await probe(account)).text


async def test_users_mark_only_their_own_notifications(register: Callable[..., Awaitable[Account]], end: End) -> None:
    owner, stranger = await register(), await register()
    job_id = await end(owner)
    await end(stranger)
    page = await probe(stranger)
    assert f"/jobs/{job_id}" not in page.links
    assert (await submit(stranger.http, page, READ, job_id=job_id)).status_code == 303
    assert (await submit(stranger.http, page, READ, job_id="")).status_code == 303
    assert f"/jobs/{job_id}" in (await probe(owner)).links
    assert (await owner.http.post(READ, data={"job_id": ""}, headers={"Accept": "text/html"})).status_code == 403
    assert f"/jobs/{job_id}" in (await probe(owner)).links


async def test_notifications_have_pages(account: Account, end: End) -> None:
    ended_ids = [await end(account) for _ in range(22)]
    newest = await probe(account)
    assert "Notifications: 22 unread" in newest.text
    (older,) = [link for link in newest.links if "page_token=" in link]
    rest = await probe(account, older)
    listed_ids = [job_id for page in (newest, rest) for job_id in ended_ids if f"/jobs/{job_id}" in page.links]
    assert sorted(listed_ids) == sorted(ended_ids)
    lost = await account.http.get(f"{PATH}?page_token=nonsense", headers={"Accept": "text/html"})
    assert (lost.status_code, lost.headers["location"]) == (303, PATH)
