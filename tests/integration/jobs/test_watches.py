"""Watches: newer snapshots and events arrive in order and without gaps, with or without wake-ups by NATS."""

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
from tests.integration.jobs.jobs_server import JobsApi

SECONDS = 60.0


def watch(jobs_api: JobsApi, job: job_pb2.Job, *, after: int = 0, **caller: str) -> AsyncGenerator[Any, None]:
    """Watch a job."""
    request = jobs_service_pb2.WatchJobRequest(job_id=job.job_id, after_version=after)
    return jobs_api.stream(jobs_api.jobs.WatchJob, request, **caller)


def watch_owner(jobs_api: JobsApi, owner_id: str, *, after: int = 0, **caller: str) -> AsyncGenerator[Any, None]:
    """Watch an owner's jobs."""
    request = jobs_service_pb2.WatchJobsRequest(owner_id=owner_id, after_sequence=after)
    return jobs_api.stream(jobs_api.jobs.WatchJobs, request, **caller)


async def upcoming(responses: AsyncGenerator[Any, None]) -> Any:
    """Return the next response."""
    async with asyncio.timeout(SECONDS):
        return await anext(responses)


async def test_watch_follows_a_job_from_its_state_to_its_end(jobs_api: JobsApi, kind: str) -> None:
    job = await jobs_api.submit(kind)
    snapshots_seen = []
    async with aclosing(watch(jobs_api, job)) as snapshots:
        snapshots_seen.append((await upcoming(snapshots)).job)
        (claimed_job,) = await jobs_api.claim(kind)
        snapshots_seen.append((await upcoming(snapshots)).job)
        await jobs_api.progress(claimed_job, 4)
        snapshots_seen.append((await upcoming(snapshots)).job)
        result = jobs_service_pb2.FinishJobRequest.Completed()
        result.result.update({"rows": 3})
        await jobs_api.finish(claimed_job, completed=result)
        snapshots_seen += [response.job async for response in snapshots]
    assert [job.state for job in snapshots_seen] == [
        job_pb2.JOB_STATE_PENDING,
        job_pb2.JOB_STATE_RUNNING,
        job_pb2.JOB_STATE_RUNNING,
        job_pb2.JOB_STATE_COMPLETED,
    ]
    assert [job.progress.done for job in snapshots_seen] == [0, 0, 4, 4]
    assert snapshots_seen[-1].result["rows"] == 3
    assert [job.version for job in snapshots_seen] == sorted({job.version for job in snapshots_seen})


async def test_only_newer_snapshots_are_sent(jobs_api: JobsApi, kind: str) -> None:
    job = await jobs_api.submit(kind)
    async with aclosing(watch(jobs_api, job, after=job.version)) as snapshots:
        coming = asyncio.ensure_future(upcoming(snapshots))
        (claimed_job,) = await jobs_api.claim(kind)
        assert (await coming).job.version == claimed_job.version
    ended = await jobs_api.finish(claimed_job)
    assert [response.job.version async for response in watch(jobs_api, job, after=claimed_job.version)] == [
        ended.version
    ]
    assert [response async for response in watch(jobs_api, job, after=ended.version)] == []


async def test_large_result_is_sent_whole(jobs_api: JobsApi, kind: str) -> None:
    job = await jobs_api.submit(kind)
    (claimed_job,) = await jobs_api.claim(kind)
    async with aclosing(watch(jobs_api, job, after=claimed_job.version)) as snapshots:
        coming = asyncio.ensure_future(upcoming(snapshots))
        result = jobs_service_pb2.FinishJobRequest.Completed()
        result.result.update({"text": "x" * 40_000})
        await jobs_api.finish(claimed_job, completed=result)
        assert len((await coming).job.result["text"]) == 40_000


async def test_jobs_of_other_owners_cannot_be_watched(jobs_api: JobsApi, kind: str) -> None:
    owner, stranger = str(uuid4()), str(uuid4())
    job = await jobs_api.submit(kind, owner)
    assert (await upcoming(watch(jobs_api, job, service="gateway", user=owner))).job.job_id == job.job_id
    assert (
        await upcoming(watch(jobs_api, job, service="gateway", user=stranger, role="admin"))
    ).job.job_id == job.job_id
    for snapshots in (
        watch(jobs_api, job, service="gateway", user=stranger),
        watch(jobs_api, job_pb2.Job(job_id=str(ids.uuid7()))),
    ):
        with pytest.raises(errors.NotFound):
            await upcoming(snapshots)
    with pytest.raises(errors.Unauthenticated):
        await upcoming(watch(jobs_api, job, service="gateway"))
    # A user's call watches the user's own jobs, regardless of the requested owner.
    await jobs_api.submit(kind, stranger)
    event = (await upcoming(watch_owner(jobs_api, owner, service="gateway", user=stranger))).event
    assert event.owner_id == stranger


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (jobs_service_pb2.WatchJobRequest(job_id="x"), "job_id"),
        (jobs_service_pb2.WatchJobRequest(job_id=str(uuid4()), after_version=-1), "after_version"),
    ],
)
async def test_invalid_request_names_its_field(
    jobs_api: JobsApi, request_: jobs_service_pb2.WatchJobRequest, field: str
) -> None:
    with pytest.raises(errors.InvalidArgument) as excinfo:
        await upcoming(jobs_api.stream(jobs_api.jobs.WatchJob, request_))
    assert excinfo.value.field == field


async def test_events_of_an_owner_are_in_order_without_gaps_from_any_position(jobs_api: JobsApi, kind: str) -> None:
    owner_id = str(uuid4())
    await jobs_api.submit(kind, owner_id)
    (claimed_job,) = await jobs_api.claim(kind)
    async with (
        aclosing(watch_owner(jobs_api, owner_id)) as all_,
        aclosing(watch_owner(jobs_api, owner_id, after=1)) as rest,
    ):
        assert [(await upcoming(all_)).event.reason for _ in range(2)] == ["submitted", "claimed"]
        assert (await upcoming(rest)).event.sequence == 2
        await jobs_api.finish(claimed_job)
        await jobs_api.submit(kind, owner_id)
        for events in (all_, rest):
            received = [(await upcoming(events)).event for _ in range(2)]
            assert [(event.sequence, event.reason) for event in received] == [(3, "completed"), (4, "submitted")]


async def test_watch_from_now_has_no_earlier_events(jobs_api: JobsApi, kind: str) -> None:
    owner_id = str(uuid4())
    await jobs_api.submit(kind, owner_id)
    async with aclosing(watch_owner(jobs_api, owner_id, after=NOW)) as events:
        coming = asyncio.ensure_future(upcoming(events))
        # The watch is there when an event after its position makes it speak.
        while not coming.done():
            await jobs_api.submit(kind, owner_id)
            await asyncio.wait([coming], timeout=0.05)
        first = (await coming).event.sequence
        assert first > 1
        assert (await upcoming(watch_owner(jobs_api, owner_id, after=first - 1))).event.sequence == first


@pytest.mark.parametrize("after", [7, -2])
async def test_invalid_position_is_refused(jobs_api: JobsApi, kind: str, after: int) -> None:
    owner_id = str(uuid4())
    await jobs_api.submit(kind, owner_id)
    with pytest.raises(errors.OutOfRange) as excinfo:
        await upcoming(watch_owner(jobs_api, owner_id, after=after))
    assert excinfo.value.code == "cursor_unknown"


# --- without the service around them ---


@pytest.fixture
def watches(jobs_engine: AsyncEngine, jobs: operations.Operations) -> Watches:
    """Watches without wake-ups: only the comparison with the database finds changes."""
    return Watches(jobs_engine, jobs, limit=2)


@pytest.fixture
async def reading(watches: Watches) -> AsyncIterator[None]:
    """The loop of the watches."""
    task = asyncio.ensure_future(watches.read())
    yield
    task.cancel()


async def test_comparison_finds_changes_without_a_wake_up(
    watches: Watches,
    reading: None,
    jobs: operations.Operations,
    submit_job: Callable[..., Awaitable[domain.Job]],
    kind: str,
) -> None:
    job = await submit_job()
    owner_id = job.spec.owner_id
    snapshots = watches.watch_job(job.job_id, owner_id=owner_id, after_version=job.version)
    events = watches.watch_owner(owner_id, after=1)
    coming: list[asyncio.Future[Any]] = [
        asyncio.ensure_future(anext(pending_item)) for pending_item in (snapshots, events)
    ]
    await jobs.claim(worker="w", kinds=[kind], limit=1)
    async with asyncio.timeout(SECONDS):
        while not all(pending_item.done() for pending_item in coming):
            await watches.compare()
            await asyncio.wait(coming, timeout=0.02)
    assert coming[0].result().state is domain.State.RUNNING
    assert job_events_pb2.JobEvent.FromString(coming[1].result()).sequence == 2
    await snapshots.aclose()
    await events.aclose()


async def test_wake_ups_reach_the_watches_of_their_job_and_owner(
    watches: Watches,
    reading: None,
    nats_url: str,
    jobs: operations.Operations,
    submit_job: Callable[..., Awaitable[domain.Job]],
    kind: str,
    eventually: Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]],
) -> None:
    nats = bus.Bus(nats_url, name="test-watching")
    watches.subscribe(nats)
    running = asyncio.ensure_future(nats.run())

    async def is_connected() -> bool:
        return nats.is_connected

    await eventually(is_connected)
    job = await submit_job()
    snapshots = watches.watch_job(job.job_id, owner_id=None, after_version=job.version)
    events = watches.watch_owner(job.spec.owner_id, after=1)
    coming: list[asyncio.Future[Any]] = [
        asyncio.ensure_future(anext(pending_item)) for pending_item in (snapshots, events)
    ]
    (claimed_job,) = await jobs.claim(worker="w", kinds=[kind], limit=1)
    event = convert.event_to_proto(claimed_job, sequence=2, reason="claimed", occurred_at=claimed_job.created_at)
    rung = job_events_pb2.JobEvents(events=[event]).SerializeToString()
    async with asyncio.timeout(SECONDS):
        # Repeated: only a received message shows that the server has the subscription.
        while not all(pending_item.done() for pending_item in coming):
            await nats.broadcast(f"jobs.live_events.{job.spec.owner_id}", rung)
            await asyncio.wait(coming, timeout=0.05)
    await jobs.reports.report_progress(claimed_job.job_id, claimed_job.attempt, domain.Progress(done=5, total=9))
    reported = await jobs.get(claimed_job.job_id, owner_id=None)
    progressed = job_events_pb2.JobProgressed(job=convert.job_to_proto(reported)).SerializeToString()
    await nats.broadcast(f"jobs.progress.{job.spec.owner_id}", progressed)
    async with asyncio.timeout(SECONDS):
        assert (await anext(snapshots)).progress.done == 5
    # One interest serves both watches of the owner, and ends with the last of them.
    await snapshots.aclose()
    assert nats.interests.count == 1
    await events.aclose()
    assert nats.interests.count == 0
    running.cancel()
    await asyncio.wait([running])


async def test_slow_watcher_gets_only_the_newest_snapshot(
    watches: Watches,
    reading: None,
    jobs: operations.Operations,
    submit_job: Callable[..., Awaitable[domain.Job]],
    kind: str,
    eventually: Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]],
) -> None:
    job = await submit_job()
    slow = watches.watch_job(job.job_id, owner_id=None, after_version=0)
    quick = watches.watch_job(job.job_id, owner_id=None, after_version=0)
    await anext(slow)
    await anext(quick)
    (claimed_job,) = await jobs.claim(worker="w", kinds=[kind], limit=1)
    for done in (1, 2, 3):
        await jobs.reports.report_progress(claimed_job.job_id, claimed_job.attempt, domain.Progress(done=done, total=9))
        coming = asyncio.ensure_future(anext(quick))
        async with asyncio.timeout(SECONDS):
            while not coming.done():
                await watches.compare()
                await asyncio.wait([coming], timeout=0.02)
    assert (await anext(slow)).progress.done == 3
    await slow.aclose()
    await quick.aclose()


async def test_watches_are_bounded_and_ended_ones_free_their_slot(
    watches: Watches, submit_job: Callable[..., Awaitable[domain.Job]]
) -> None:
    job = await submit_job()

    def watch_one() -> AsyncGenerator[domain.Job, None]:
        return watches.watch_job(job.job_id, owner_id=None, after_version=0)

    first, second = watch_one(), watches.watch_owner(job.spec.owner_id, after=0)
    await anext(first)
    await anext(second)
    with pytest.raises(errors.ResourceExhausted) as excinfo:
        await anext(watch_one())
    assert excinfo.value.code == "too_many_watches"
    await first.aclose()
    again = watch_one()
    assert (await anext(again)).job_id == job.job_id
    await again.aclose()
    await second.aclose()


async def test_a_watched_job_that_is_deleted_ends_its_watch(
    watches: Watches,
    reading: None,
    jobs_engine: AsyncEngine,
    submit_job: Callable[..., Awaitable[domain.Job]],
) -> None:
    job = await submit_job()
    snapshots = watches.watch_job(job.job_id, owner_id=None, after_version=0)
    await anext(snapshots)
    async with jobs_engine.begin() as conn:
        await conn.execute(sa.delete(schema.jobs).where(schema.jobs.c.job_id == job.job_id))
    await watches.compare()
    with pytest.raises(errors.NotFound):
        async with asyncio.timeout(SECONDS):
            await anext(snapshots)


async def test_deleted_events_are_reported_as_a_gap(
    watches: Watches, jobs_engine: AsyncEngine, submit_job: Callable[..., Awaitable[domain.Job]]
) -> None:
    jobs = [await submit_job() for _ in range(3)]
    owner_id = jobs[0].spec.owner_id
    async with jobs_engine.begin() as conn:
        await conn.execute(sa.delete(schema.job_events).where(schema.job_events.c.job_id == jobs[1].job_id))
    events = watches.watch_owner(owner_id, after=0)
    assert job_events_pb2.JobEvent.FromString(await anext(events)).sequence == 1
    with pytest.raises(errors.OutOfRange) as excinfo:
        await anext(events)
    assert excinfo.value.code == "cursor_unknown"
    rest = watches.watch_owner(owner_id, after=2)
    assert job_events_pb2.JobEvent.FromString(await anext(rest)).sequence == 3
    await rest.aclose()
