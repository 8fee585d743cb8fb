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
from tests.integration.jobs.jobs_server import Served


@pytest.fixture
async def kind(served: Served) -> str:
    """Return a kind that notifies its owners."""
    name = f"demo.{uuid4().hex}"
    await served.declare(kind_pb2.KindDeclaration(kind=name, notify_owner=True))
    return name


async def end(served: Served, kind: str, owner_id: str, **outcome: Any) -> job_pb2.Job:
    """Run a job of an owner to its end."""
    await served.submit(kind, owner_id)
    (claimed,) = await served.claim(kind)
    return await served.finish(claimed, **outcome)


async def unread(served: Served, owner_id: str, **page: Any) -> jobs_service_pb2.ListNotificationsResponse:
    """Return the owner's unread notifications."""
    request = jobs_service_pb2.ListNotificationsRequest(**page)
    answer: jobs_service_pb2.ListNotificationsResponse = await served.call(
        served.jobs.ListNotifications, request, service="gateway", user=owner_id
    )
    return answer


async def mark(served: Served, owner_id: str, *job_ids: str) -> int:
    """Mark the owner's notifications as read."""
    request = jobs_service_pb2.MarkNotificationsReadRequest(job_ids=job_ids)
    answer = await served.call(served.jobs.MarkNotificationsRead, request, service="gateway", user=owner_id)
    return int(answer.marked_count)


async def test_what_ended_is_told_latest_first_until_it_was_read(served: Served, kind: str) -> None:
    owner_id = str(uuid4())
    completed = await end(served, kind, owner_id)
    failed = await end(served, kind, owner_id, failed=jobs_server.failed("mailbox_full"))
    await served.submit(kind, owner_id)  # has not ended
    unread_page = await unread(served, owner_id)
    assert ([job.job_id for job in unread_page.jobs], unread_page.unread_count) == (
        [failed.job_id, completed.job_id],
        2,
    )
    assert unread_page.jobs[0].error.code == "mailbox_full"

    assert await mark(served, owner_id, completed.job_id) == 1
    assert await mark(served, owner_id, completed.job_id, str(ids.uuid7())) == 0
    assert [job.job_id for job in (await unread(served, owner_id)).jobs] == [failed.job_id]
    assert await mark(served, owner_id) == 1
    unread_page = await unread(served, owner_id)
    assert (list(unread_page.jobs), unread_page.unread_count) == ([], 0)


async def test_kinds_that_do_not_notify_tell_nothing(served: Served) -> None:
    owner_id = str(uuid4())
    await end(served, f"demo.{uuid4().hex}", owner_id)
    assert list((await unread(served, owner_id)).jobs) == []


async def test_what_ends_again_is_told_again(served: Served, kind: str) -> None:
    owner_id = str(uuid4())
    failed = await end(served, kind, owner_id, failed=jobs_server.failed("mailbox_full"))
    await mark(served, owner_id)
    await served.call(served.jobs.RetryJob, jobs_service_pb2.RetryJobRequest(job_id=failed.job_id))
    assert list((await unread(served, owner_id)).jobs) == []
    (claimed,) = await served.claim(kind)
    await served.finish(claimed)
    assert [job.state for job in (await unread(served, owner_id)).jobs] == [job_pb2.JOB_STATE_COMPLETED]


async def test_pages_follow_each_other(served: Served, kind: str) -> None:
    owner_id = str(uuid4())
    ended = [(await end(served, kind, owner_id)).job_id for _ in range(5)]
    read: list[str] = []
    token = ""
    while len(read) < 5:
        page = await unread(served, owner_id, page_size=2, page_token=token)
        assert page.unread_count == 5
        read += [job.job_id for job in page.jobs]
        token = page.next_page_token
    assert (read, token) == (ended[::-1], "")


async def test_nobody_reads_or_marks_for_others(served: Served, kind: str) -> None:
    mine, yours = str(uuid4()), str(uuid4())
    job = await end(served, kind, mine)
    asked = jobs_service_pb2.ListNotificationsRequest(owner_id=mine)
    marking = jobs_service_pb2.MarkNotificationsReadRequest(owner_id=mine, job_ids=[job.job_id])
    for method, request in ((served.jobs.ListNotifications, asked), (served.jobs.MarkNotificationsRead, marking)):
        await served.call(method, request, service="gateway", user=yours)
        with pytest.raises(errors.Unauthenticated):
            await served.call(method, type(request)(), service="gateway")
    assert [one.job_id for one in (await unread(served, mine)).jobs] == [job.job_id]
    # An admin's own, unless another is named.
    for request, count in ((asked, 1), (jobs_service_pb2.ListNotificationsRequest(), 0)):
        unread_page = await served.call(
            served.jobs.ListNotifications, request, service="gateway", user=yours, role="admin"
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
async def test_what_makes_no_sense_is_named(served: Served, method: str, request_: Any, field: str) -> None:
    with pytest.raises(errors.InvalidArgument) as caught:
        await served.call(getattr(served.jobs, method), request_)
    assert caught.value.field == field


async def test_many_are_counted_up_to_a_hundred_and_marked_all_at_once(
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
