"""Watching jobs: what is newer arrives, in order, without gaps, whether NATS rings or not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import bus, errors, ids
from repruv.jobs.v1 import job_events_pb2, job_pb2, jobs_service_pb2
from services.jobs import convert, domain, operations, schema
from services.jobs.watches import NOW, Watches
from tests.integration.jobs.jobs_server import Served

SECONDS = 10.0


def watch(served: Served, job: job_pb2.Job, *, after: int = 0, **caller: str) -> AsyncGenerator[Any, None]:
    """Watch a job."""
    request = jobs_service_pb2.WatchJobRequest(job_id=job.job_id, after_version=after)
    return served.stream(served.jobs.WatchJob, request, **caller)


def watch_owner(served: Served, owner_id: str, *, after: int = 0, **caller: str) -> AsyncGenerator[Any, None]:
    """Watch an owner's jobs."""
    request = jobs_service_pb2.WatchJobsRequest(owner_id=owner_id, after_sequence=after)
    return served.stream(served.jobs.WatchJobs, request, **caller)


async def upcoming(responses: AsyncGenerator[Any, None]) -> Any:
    """Return the next response, which must come."""
    async with asyncio.timeout(SECONDS):
        return await anext(responses)


async def test_a_job_is_followed_from_where_it_stands_to_its_end(served: Served, kind: str) -> None:
    job = await served.submit(kind)
    seen = []
    async with aclosing(watch(served, job)) as snapshots:
        seen.append((await upcoming(snapshots)).job)
        (claimed,) = await served.claim(kind)
        seen.append((await upcoming(snapshots)).job)
        await served.progress(claimed, 4)
        seen.append((await upcoming(snapshots)).job)
        result = jobs_service_pb2.FinishJobRequest.Completed()
        result.result.update({"rows": 3})
        await served.finish(claimed, completed=result)
        seen += [response.job async for response in snapshots]
    assert [job.state for job in seen] == [
        job_pb2.JOB_STATE_PENDING,
        job_pb2.JOB_STATE_RUNNING,
        job_pb2.JOB_STATE_RUNNING,
        job_pb2.JOB_STATE_COMPLETED,
    ]
    assert [job.progress.done for job in seen] == [0, 0, 4, 4]
    assert seen[-1].result["rows"] == 3
    assert [job.version for job in seen] == sorted({job.version for job in seen})


async def test_only_what_is_newer_than_the_watcher_knows_is_sent(served: Served, kind: str) -> None:
    job = await served.submit(kind)
    async with aclosing(watch(served, job, after=job.version)) as snapshots:
        coming = asyncio.ensure_future(upcoming(snapshots))
        (claimed,) = await served.claim(kind)
        assert (await coming).job.version == claimed.version
    ended = await served.finish(claimed)
    assert [response.job.version async for response in watch(served, job, after=claimed.version)] == [ended.version]
    assert [response async for response in watch(served, job, after=ended.version)] == []


async def test_what_was_completed_with_a_large_result_is_shown_whole(served: Served, kind: str) -> None:
    job = await served.submit(kind)
    (claimed,) = await served.claim(kind)
    async with aclosing(watch(served, job, after=claimed.version)) as snapshots:
        coming = asyncio.ensure_future(upcoming(snapshots))
        result = jobs_service_pb2.FinishJobRequest.Completed()
        result.result.update({"text": "x" * 40_000})
        await served.finish(claimed, completed=result)
        assert len((await coming).job.result["text"]) == 40_000


async def test_other_peoples_jobs_cannot_be_watched(served: Served, kind: str) -> None:
    mine, yours = str(uuid4()), str(uuid4())
    job = await served.submit(kind, mine)
    assert (await upcoming(watch(served, job, service="gateway", user=mine))).job.job_id == job.job_id
    assert (await upcoming(watch(served, job, service="gateway", user=yours, role="admin"))).job.job_id == job.job_id
    for snapshots in (
        watch(served, job, service="gateway", user=yours),
        watch(served, job_pb2.Job(job_id=str(ids.uuid7()))),
    ):
        with pytest.raises(errors.NotFound):
            await upcoming(snapshots)
    with pytest.raises(errors.Unauthenticated):
        await upcoming(watch(served, job, service="gateway"))
    # A user's call watches its own, whatever it says.
    await served.submit(kind, yours)
    event = (await upcoming(watch_owner(served, mine, service="gateway", user=yours))).event
    assert event.owner_id == yours


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (jobs_service_pb2.WatchJobRequest(job_id="x"), "job_id"),
        (jobs_service_pb2.WatchJobRequest(job_id=str(uuid4()), after_version=-1), "after_version"),
    ],
)
async def test_what_makes_no_sense_is_named(
    served: Served, request_: jobs_service_pb2.WatchJobRequest, field: str
) -> None:
    with pytest.raises(errors.InvalidArgument) as caught:
        await upcoming(served.stream(served.jobs.WatchJob, request_))
    assert caught.value.field == field


async def test_events_of_an_owner_come_in_order_without_gaps_wherever_the_watcher_begins(
    served: Served, kind: str
) -> None:
    owner_id = str(uuid4())
    await served.submit(kind, owner_id)
    (claimed,) = await served.claim(kind)
    async with (
        aclosing(watch_owner(served, owner_id)) as all_,
        aclosing(watch_owner(served, owner_id, after=1)) as rest,
    ):
        assert [(await upcoming(all_)).event.reason for _ in range(2)] == ["submitted", "claimed"]
        assert (await upcoming(rest)).event.sequence == 2
        await served.finish(claimed)
        await served.submit(kind, owner_id)
        for events in (all_, rest):
            received = [(await upcoming(events)).event for _ in range(2)]
            assert [(event.sequence, event.reason) for event in received] == [(3, "completed"), (4, "submitted")]


async def test_a_watch_from_now_on_tells_nothing_of_before(served: Served, kind: str) -> None:
    owner_id = str(uuid4())
    await served.submit(kind, owner_id)
    async with aclosing(watch_owner(served, owner_id, after=NOW)) as events:
        coming = asyncio.ensure_future(upcoming(events))
        # The watch is there when an event after its position makes it speak.
        while not coming.done():
            await served.submit(kind, owner_id)
            await asyncio.wait([coming], timeout=0.05)
        first = (await coming).event.sequence
        assert first > 1
        assert (await upcoming(watch_owner(served, owner_id, after=first - 1))).event.sequence == first


@pytest.mark.parametrize("after", [7, -2])
async def test_a_position_that_is_none_is_refused(served: Served, kind: str, after: int) -> None:
    owner_id = str(uuid4())
    await served.submit(kind, owner_id)
    with pytest.raises(errors.OutOfRange) as caught:
        await upcoming(watch_owner(served, owner_id, after=after))
    assert caught.value.code == "cursor_unknown"


# --- without the service around them ---


@pytest.fixture
def watches(jobs_engine: AsyncEngine, jobs: operations.Operations) -> Watches:
    """Watches without wake-ups: only a comparison with the database finds what has changed."""
    return Watches(jobs_engine, jobs, limit=2)


@pytest.fixture
async def reading(watches: Watches) -> AsyncIterator[None]:
    """Their loop."""
    task = asyncio.ensure_future(watches.read())
    yield
    task.cancel()


async def test_what_no_doorbell_tells_is_found_by_comparing(
    watches: Watches,
    reading: None,
    jobs: operations.Operations,
    submitted: Callable[..., Awaitable[domain.Job]],
    kind: str,
) -> None:
    job = await submitted()
    owner_id = job.spec.owner_id
    snapshots = watches.watch_job(job.job_id, owner_id=owner_id, after_version=job.version)
    events = watches.watch_owner(owner_id, after=1)
    coming: list[asyncio.Future[Any]] = [asyncio.ensure_future(anext(one)) for one in (snapshots, events)]
    await jobs.claim(worker="w", kinds=[kind], limit=1)
    async with asyncio.timeout(SECONDS):
        while not all(one.done() for one in coming):
            await watches.compare()
            await asyncio.wait(coming, timeout=0.02)
    assert coming[0].result().state is domain.State.RUNNING
    assert job_events_pb2.JobEvent.FromString(coming[1].result()).sequence == 2
    await snapshots.aclose()
    await events.aclose()


async def test_the_doorbells_wake_those_whom_they_concern(
    watches: Watches,
    reading: None,
    nats_url: str,
    jobs: operations.Operations,
    submitted: Callable[..., Awaitable[domain.Job]],
    kind: str,
    eventually: Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]],
) -> None:
    nats = bus.Bus(nats_url, name="test-watching")
    watches.subscribe(nats)
    running = asyncio.ensure_future(nats.run())

    async def is_connected() -> bool:
        return nats.is_connected

    await eventually(is_connected)
    job = await submitted()
    snapshots = watches.watch_job(job.job_id, owner_id=None, after_version=job.version)
    events = watches.watch_owner(job.spec.owner_id, after=1)
    coming: list[asyncio.Future[Any]] = [asyncio.ensure_future(anext(one)) for one in (snapshots, events)]
    (claimed,) = await jobs.claim(worker="w", kinds=[kind], limit=1)
    event = convert.event_to_proto(claimed, sequence=2, reason="claimed", occurred_at=claimed.created_at)
    rung = job_events_pb2.JobEvents(events=[event]).SerializeToString()
    async with asyncio.timeout(SECONDS):
        # Again and again: that the subscription has reached the server is seen only by what comes.
        while not all(one.done() for one in coming):
            await nats.publish_ephemeral(f"jobs.events.{kind}", rung)
            await asyncio.wait(coming, timeout=0.05)
    await jobs.report_progress(claimed.job_id, claimed.attempt, domain.Progress(done=5, total=9))
    reported = await jobs.get(claimed.job_id, owner_id=None)
    progressed = job_events_pb2.JobProgressed(job=convert.job_to_proto(reported)).SerializeToString()
    await nats.publish_ephemeral(f"jobs.progress.{job.spec.owner_id}", progressed)
    async with asyncio.timeout(SECONDS):
        assert (await anext(snapshots)).progress.done == 5
    await snapshots.aclose()
    await events.aclose()
    running.cancel()
    await asyncio.wait([running])


async def test_a_slow_watcher_gets_the_newest_snapshot_only(
    watches: Watches,
    reading: None,
    jobs: operations.Operations,
    submitted: Callable[..., Awaitable[domain.Job]],
    kind: str,
    eventually: Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]],
) -> None:
    job = await submitted()
    slow = watches.watch_job(job.job_id, owner_id=None, after_version=0)
    quick = watches.watch_job(job.job_id, owner_id=None, after_version=0)
    await anext(slow)
    await anext(quick)
    (claimed,) = await jobs.claim(worker="w", kinds=[kind], limit=1)
    for done in (1, 2, 3):
        await jobs.report_progress(claimed.job_id, claimed.attempt, domain.Progress(done=done, total=9))
        coming = asyncio.ensure_future(anext(quick))
        async with asyncio.timeout(SECONDS):
            while not coming.done():
                await watches.compare()
                await asyncio.wait([coming], timeout=0.02)
    assert (await anext(slow)).progress.done == 3
    await slow.aclose()
    await quick.aclose()


async def test_there_are_only_so_many_watches_and_those_that_end_make_room(
    watches: Watches, submitted: Callable[..., Awaitable[domain.Job]]
) -> None:
    job = await submitted()

    def watch_one() -> AsyncGenerator[domain.Job, None]:
        return watches.watch_job(job.job_id, owner_id=None, after_version=0)

    first, second = watch_one(), watches.watch_owner(job.spec.owner_id, after=0)
    await anext(first)
    await anext(second)
    with pytest.raises(errors.ResourceExhausted) as caught:
        await anext(watch_one())
    assert caught.value.code == "too_many_watches"
    await first.aclose()
    again = watch_one()
    assert (await anext(again)).job_id == job.job_id
    await again.aclose()
    await second.aclose()


async def test_a_watched_job_that_is_deleted_ends_its_watch(
    watches: Watches,
    reading: None,
    jobs_engine: AsyncEngine,
    submitted: Callable[..., Awaitable[domain.Job]],
) -> None:
    job = await submitted()
    snapshots = watches.watch_job(job.job_id, owner_id=None, after_version=0)
    await anext(snapshots)
    async with jobs_engine.begin() as conn:
        await conn.execute(sa.delete(schema.jobs).where(schema.jobs.c.job_id == job.job_id))
    await watches.compare()
    with pytest.raises(errors.NotFound):
        async with asyncio.timeout(SECONDS):
            await anext(snapshots)


async def test_events_that_are_no_longer_kept_are_told_as_a_gap_not_skipped(
    watches: Watches, jobs_engine: AsyncEngine, submitted: Callable[..., Awaitable[domain.Job]]
) -> None:
    jobs = [await submitted() for _ in range(3)]
    owner_id = jobs[0].spec.owner_id
    async with jobs_engine.begin() as conn:
        await conn.execute(sa.delete(schema.job_events).where(schema.job_events.c.job_id == jobs[1].job_id))
    events = watches.watch_owner(owner_id, after=0)
    assert job_events_pb2.JobEvent.FromString(await anext(events)).sequence == 1
    with pytest.raises(errors.OutOfRange) as caught:
        await anext(events)
    assert caught.value.code == "cursor_unknown"
    rest = watches.watch_owner(owner_id, after=2)
    assert job_events_pb2.JobEvent.FromString(await anext(rest)).sequence == 3
    await rest.aclose()
