"""Finished jobs are notifications until they are read."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import bus, errors, ids
from repruv.jobs.v1 import job_pb2, jobs_service_pb2, kind_pb2
from services.jobs import notifications
from tests.integration.jobs import jobs_server
from tests.integration.jobs.jobs_server import JobsApi


@pytest.fixture
async def kind(jobs_api: JobsApi) -> str:
    """Return a kind that notifies its owners."""
    name = f"demo.{uuid4().hex}"
    await jobs_api.register(kind_pb2.KindRegistration(kind=name, notify_owner=True))
    return name


async def end(jobs_api: JobsApi, kind: str, owner_id: str, **outcome: Any) -> job_pb2.Job:
    """Run a job of an owner to its end."""
    await jobs_api.submit(kind, owner_id)
    (claimed_job,) = await jobs_api.claim(kind)
    return await jobs_api.finish(claimed_job, **outcome)


async def unread(jobs_api: JobsApi, owner_id: str, **page: Any) -> jobs_service_pb2.ListNotificationsResponse:
    """Return the owner's unread notifications."""
    request = jobs_service_pb2.ListNotificationsRequest(**page)
    answer: jobs_service_pb2.ListNotificationsResponse = await jobs_api.call(
        jobs_api.jobs.ListNotifications, request, service="gateway", user=owner_id
    )
    return answer


async def mark(jobs_api: JobsApi, owner_id: str, *job_ids: str) -> int:
    """Mark the owner's notifications as read."""
    request = jobs_service_pb2.MarkNotificationsReadRequest(job_ids=job_ids)
    answer = await jobs_api.call(jobs_api.jobs.MarkNotificationsRead, request, service="gateway", user=owner_id)
    return int(answer.marked_count)


async def test_ended_jobs_are_unread_latest_first(jobs_api: JobsApi, kind: str) -> None:
    owner_id = str(uuid4())
    completed = await end(jobs_api, kind, owner_id)
    failed = await end(jobs_api, kind, owner_id, failed=jobs_server.failed("mailbox_full"))
    await jobs_api.submit(kind, owner_id)  # has not ended
    unread_page = await unread(jobs_api, owner_id)
    assert ([job.job_id for job in unread_page.jobs], unread_page.unread_count) == (
        [failed.job_id, completed.job_id],
        2,
    )
    assert unread_page.jobs[0].error.code == "mailbox_full"

    assert await mark(jobs_api, owner_id, completed.job_id) == 1
    assert await mark(jobs_api, owner_id, completed.job_id, str(ids.uuid7())) == 0
    assert [job.job_id for job in (await unread(jobs_api, owner_id)).jobs] == [failed.job_id]
    assert await mark(jobs_api, owner_id) == 1
    unread_page = await unread(jobs_api, owner_id)
    assert (list(unread_page.jobs), unread_page.unread_count) == ([], 0)


async def test_kinds_without_notify_owner_have_no_notifications(jobs_api: JobsApi) -> None:
    owner_id = str(uuid4())
    await end(jobs_api, f"demo.{uuid4().hex}", owner_id)
    assert list((await unread(jobs_api, owner_id)).jobs) == []


async def test_filter_by_kind_lists_and_counts(jobs_api: JobsApi, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    other = f"demo.{uuid4().hex}"
    await jobs_api.register(kind_pb2.KindRegistration(kind=other, notify_owner=True))
    owner_id = str(uuid4())
    of_kind = [(await end(jobs_api, kind, owner_id)).job_id for _ in range(3)]
    latest = (await end(jobs_api, other, owner_id)).job_id
    for filters, expected in (
        ({"kinds": [kind]}, of_kind[::-1]),
        ({"excluded_kinds": [kind]}, [latest]),
        ({"kinds": [kind, other], "excluded_kinds": [other]}, of_kind[::-1]),
    ):
        first = await unread(jobs_api, owner_id, page_size=1, **filters)
        listed = list(first.jobs)
        while first.next_page_token:
            first = await unread(jobs_api, owner_id, page_size=1, page_token=first.next_page_token, **filters)
            listed += first.jobs
        assert ([job.job_id for job in listed], first.unread_count) == (expected, len(expected))
    for refused, field in (
        ({"kinds": ["No Kind"]}, "kinds"),
        ({"excluded_kinds": ["a"] * 3 + ["B"]}, "excluded_kinds"),
    ):
        with pytest.raises(errors.InvalidArgument) as excinfo:
            await unread(jobs_api, owner_id, **refused)
        assert excinfo.value.field == field
    too_many = [f"demo.{number}" for number in range(notifications.MAX_KINDS + 1)]
    with pytest.raises(errors.InvalidArgument, match="at most 100"):
        await unread(jobs_api, owner_id, excluded_kinds=too_many)
    monkeypatch.setattr(notifications, "MAX_FILTERED", 2)
    assert [job.job_id for job in (await unread(jobs_api, owner_id, kinds=[kind])).jobs] == of_kind[2:]


async def test_job_that_ends_again_is_unread_again(jobs_api: JobsApi, kind: str) -> None:
    owner_id = str(uuid4())
    failed = await end(jobs_api, kind, owner_id, failed=jobs_server.failed("mailbox_full"))
    await mark(jobs_api, owner_id)
    await jobs_api.call(jobs_api.jobs.RetryJob, jobs_service_pb2.RetryJobRequest(job_id=failed.job_id))
    assert list((await unread(jobs_api, owner_id)).jobs) == []
    (claimed_job,) = await jobs_api.claim(kind)
    await jobs_api.finish(claimed_job)
    assert [job.state for job in (await unread(jobs_api, owner_id)).jobs] == [job_pb2.JOB_STATE_COMPLETED]


async def test_pages_follow_each_other(jobs_api: JobsApi, kind: str) -> None:
    owner_id = str(uuid4())
    ended_ids = [(await end(jobs_api, kind, owner_id)).job_id for _ in range(5)]
    read: list[str] = []
    token = ""
    while len(read) < 5:
        page = await unread(jobs_api, owner_id, page_size=2, page_token=token)
        assert page.unread_count == 5
        read += [job.job_id for job in page.jobs]
        token = page.next_page_token
    assert (read, token) == (ended_ids[::-1], "")


async def test_users_read_and_mark_only_their_own_notifications(jobs_api: JobsApi, kind: str) -> None:
    owner_id, other_id = str(uuid4()), str(uuid4())
    job = await end(jobs_api, kind, owner_id)
    listing = jobs_service_pb2.ListNotificationsRequest(owner_id=owner_id)
    marking = jobs_service_pb2.MarkNotificationsReadRequest(owner_id=owner_id, job_ids=[job.job_id])
    for method, request in ((jobs_api.jobs.ListNotifications, listing), (jobs_api.jobs.MarkNotificationsRead, marking)):
        await jobs_api.call(method, request, service="gateway", user=other_id)
        with pytest.raises(errors.Unauthenticated):
            await jobs_api.call(method, type(request)(), service="gateway")
    assert [job.job_id for job in (await unread(jobs_api, owner_id)).jobs] == [job.job_id]
    # An admin's own, unless another is named.
    for request, count in ((listing, 1), (jobs_service_pb2.ListNotificationsRequest(), 0)):
        unread_page = await jobs_api.call(
            jobs_api.jobs.ListNotifications, request, service="gateway", user=other_id, role="admin"
        )
        assert unread_page.unread_count == count


@pytest.mark.parametrize(
    ("method", "request_", "field"),
    [
        ("ListNotifications", jobs_service_pb2.ListNotificationsRequest(owner_id="x"), "owner_id"),
        ("ListNotifications", jobs_service_pb2.ListNotificationsRequest(), "owner_id"),
        (
            "ListNotifications",
            jobs_service_pb2.ListNotificationsRequest(owner_id=str(uuid4()), page_token="x"),
            "page_token",
        ),
        (
            "ListNotifications",
            jobs_service_pb2.ListNotificationsRequest(owner_id=str(uuid4()), page_size=-1),
            "page_size",
        ),
        (
            "MarkNotificationsRead",
            jobs_service_pb2.MarkNotificationsReadRequest(owner_id=str(uuid4()), job_ids=["x"]),
            "job_ids",
        ),
        (
            "MarkNotificationsRead",
            jobs_service_pb2.MarkNotificationsReadRequest(owner_id=str(uuid4()), job_ids=[str(uuid4())] * 101),
            "job_ids",
        ),
    ],
)
async def test_invalid_request_names_its_field(jobs_api: JobsApi, method: str, request_: Any, field: str) -> None:
    with pytest.raises(errors.InvalidArgument) as excinfo:
        await jobs_api.call(getattr(jobs_api.jobs, method), request_)
    assert excinfo.value.field == field


async def test_unread_count_is_capped_and_all_are_marked_at_once(
    jobs_engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifications, "MARK_BATCH", 40)
    owner_id = uuid4()
    insert = sa.text("""
        INSERT INTO jobs.jobs (job_id, owner_id, kind, payload, priority, budget, max_attempts, backoff, max_backoff,
            attempt_timeout, state, run_at, finished_at, notifies, attempt, started_at, result)
        SELECT gen_random_uuid(), :owner_id, 'test.many', '{}', 0, 3, 3, '1 s', '1 min', '1 min', 'completed', now(), now(),
            true, 1, now(), '{}'
        FROM generate_series(1, 120)
    """)
    async with jobs_engine.begin() as conn:
        await conn.execute(insert, {"owner_id": owner_id})
    unread_of = notifications.Notifications(jobs_engine, bus.Bus("", name="test"))
    assert (await unread_of.list_page(owner_id, page_size=100, page_token="")).unread_count == 100
    assert await unread_of.mark_read(owner_id, []) == 120
    assert (await unread_of.list_page(owner_id, page_size=100, page_token="")).unread_count == 0
