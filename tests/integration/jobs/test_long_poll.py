"""Long polls: one waiting call gets the job, no other is woken, and cancelled calls lose no job."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from google.protobuf.duration_pb2 import Duration
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import errors, ids
from dev import subprocesses
from repruv.jobs.v1 import job_pb2, jobs_service_pb2
from services.jobs import __main__ as jobs_service
from services.jobs import domain, outcomes
from services.jobs.claims import long_poll, waiters
from services.jobs.maintenance import Maintenance
from services.jobs.operations import Operations
from services.jobs.operators import kind_controls
from services.jobs.settings import Settings
from tests.integration.jobs import jobs_helpers
from tests.integration.jobs.claim_calls import LONG, SOON, Callers, Eventually, claimed_ids
from tests.integration.jobs.jobs_server import JobsApi, connect_jobs_api

Signed = Callable[[str], Any]


async def test_waiting_call_gets_a_job_submitted_meanwhile(
    callers: Callers, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    call = await callers.waiting(kind)
    job = await submit_job()
    assert await claimed_ids(call) == [job.job_id]


async def test_next_call_waits_for_the_next_job(callers: Callers, submit_job: jobs_helpers.Submit, kind: str) -> None:
    for _ in range(5):
        call = await callers.waiting(kind, limit=10)
        job = await submit_job()
        assert await claimed_ids(call) == [job.job_id]


async def test_first_of_two_calls_gets_the_job_and_the_second_keeps_waiting(
    callers: Callers, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    # A call that still looks for jobs is passed over.
    first, second = await callers.resting(kind), await callers.resting(kind)
    for call in (first, second):
        job = await submit_job()
        assert await claimed_ids(call) == [job.job_id]
        assert callers.jobs.waiters.count == (call is first)


async def test_a_wait_ends_empty(callers: Callers, kind: str) -> None:
    async with asyncio.timeout(SOON):
        assert await callers.call(kind, wait=timedelta(milliseconds=50)) == []
    assert callers.jobs.waiters.count == 0


async def test_runnable_job_is_returned_without_a_wait(
    callers: Callers, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    job_ids = [(await submit_job()).job_id for _ in range(3)]
    assert await claimed_ids(await here_now(callers, kind)) == job_ids


async def here_now(callers: Callers, kind: str) -> asyncio.Task[list[domain.Job]]:
    """Call when a job is ready to claim."""
    called = callers.jobs.long_poll.claim(worker="waits", kinds=[kind], limit=10, wait=LONG)
    return asyncio.create_task(called)


async def test_no_job_is_lost_while_calls_come_and_go(
    callers: Callers, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    submitted_ids: set[Any] = set()
    claimed_ids: list[Any] = []
    polls = callers.jobs.long_poll

    async def work() -> None:
        while len(claimed_ids) < 60:
            claimed = await polls.claim(worker="waits", kinds=[kind], limit=2, wait=timedelta(seconds=2))
            claimed_ids.extend(job.job_id for job in claimed)

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(work())
        for _ in range(20):
            jobs = await asyncio.gather(*(submit_job() for _ in range(3)))
            submitted_ids |= {job.job_id for job in jobs}
    assert sorted(claimed_ids) == sorted(submitted_ids)


async def test_jobs_of_other_replicas_wake_waiting_calls(
    linked_replicas: list[Callers], spec: jobs_helpers.MakeSpec, kind: str
) -> None:
    first, other = linked_replicas
    call = await first.waiting(kind)
    job, _ = await other.jobs.submit(ids.uuid7(), spec())
    assert await claimed_ids(call) == [job.job_id]


async def test_reconciler_finds_jobs_without_a_wake_up(
    callers: Callers, replica: Operations, spec: jobs_helpers.MakeSpec, kind: str
) -> None:
    call = await callers.waiting(kind)
    job, _ = await replica.submit(ids.uuid7(), spec())
    await Maintenance(callers.jobs).wake_all()
    assert await claimed_ids(call) == [job.job_id]


async def test_every_way_to_become_runnable_wakes_a_call(
    callers: Callers, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    jobs = callers.jobs
    holder, follower = await submit_job(concurrency_key="k"), await submit_job(concurrency_key="k")
    assert await jobs_helpers.claim(jobs, kind) == [holder.job_id]
    call = await callers.waiting(kind)
    await jobs.finish(holder.job_id, 1, outcomes.Released())
    assert await claimed_ids(call) == [holder.job_id], "handed back"
    call = await callers.waiting(kind)
    await jobs.finish(holder.job_id, 2, jobs_helpers.FINAL)
    assert await claimed_ids(call) == [follower.job_id], "its place was given on"
    call = await callers.waiting(kind)
    await jobs.retry(holder.job_id, owner_id=None)
    await jobs.finish(follower.job_id, 1, outcomes.Completed())
    assert await claimed_ids(call) == [holder.job_id], "reopened"
    call = await callers.waiting(kind)
    await jobs.finish(holder.job_id, 3, outcomes.Snoozed(delay=jobs_helpers.HOUR))
    await jobs_helpers.come_due(jobs, jobs_engine, holder.job_id)
    assert await claimed_ids(call) == [holder.job_id], "its time has come"


async def test_resumed_kind_wakes_waiting_calls(callers: Callers, submit_job: jobs_helpers.Submit, kind: str) -> None:
    kind_limits = kind_controls.KindControls(callers.jobs)
    await kind_limits.pause(kind)
    job = await submit_job()
    call = await callers.waiting(kind)
    await kind_limits.resume(kind)
    assert await claimed_ids(call) == [job.job_id]


async def test_cancelled_call_claims_nothing(callers: Callers, submit_job: jobs_helpers.Submit, kind: str) -> None:
    call = await callers.waiting(kind)
    call.cancel()
    await callers.come(0)
    job = await submit_job()
    assert (job.state, job.attempt) == (domain.State.PENDING, 0)
    assert await jobs_helpers.claim(callers.jobs, kind) == [job.job_id]


async def test_job_of_a_cancelled_call_goes_to_the_next(
    callers: Callers, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    first, second = await callers.waiting(kind), await callers.waiting(kind)
    job = await submit_job()
    first.cancel()
    await asyncio.wait([first])
    if first.cancelled():
        assert await claimed_ids(second) == [job.job_id]
    else:
        assert await claimed_ids(first) == [job.job_id]
        second.cancel()
    await callers.come(0)


async def test_job_claimed_for_a_cancelled_call_is_handed_back(
    callers: Callers, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str, eventually: Eventually
) -> None:
    await kind_controls.KindControls(callers.jobs).set_limits(kind_controls.Limits(kind=kind, max_running=5))
    job = await submit_job()
    async with jobs_engine.begin() as conn:
        # A claim of a kind with limits waits for the row of the kind.
        lock = sa.text("SELECT pg_backend_pid() FROM jobs.kinds WHERE kind = :kind FOR UPDATE")
        pid = (await conn.execute(lock, {"kind": kind})).scalar_one()
        call = await here_now(callers, kind)

        async def stands() -> bool:
            query = sa.text("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE :pid = ANY(pg_blocking_pids(pid)))")
            async with jobs_engine.connect() as probe:
                return bool((await probe.execute(query, {"pid": pid})).scalar())

        await eventually(stands)
        call.cancel()
        await asyncio.wait([call])

    async def is_back() -> bool:
        now = await callers.jobs.get(job.job_id, owner_id=None)
        return (now.state, now.attempt, now.crashes) == (domain.State.RETRYING, 1, 0)

    await eventually(is_back)
    assert await jobs_helpers.claim(callers.jobs, kind) == [job.job_id]


async def test_call_beyond_the_bound_returns_at_once(replica: Operations, eventually: Eventually, kind: str) -> None:
    replica.waiters = waiters.Waiters(lambda *_: None, limit=1)
    replica.long_poll = long_poll.LongPoll(
        replica.waiters, replica.kinds, claim=replica.claim, finish_many=replica.finish_many
    )
    callers = Callers(replica, eventually)
    call = await callers.waiting(kind)
    async with asyncio.timeout(SOON):
        assert await replica.long_poll.claim(worker="w", kinds=[kind], limit=1, wait=LONG) == []
    call.cancel()
    await callers.come(0)


async def test_grpc_call_waits_and_may_be_cancelled(jobs_api: JobsApi, kind: str) -> None:
    request = jobs_service_pb2.ClaimJobsRequest(worker="w", kinds=[kind], max_jobs=1, wait=Duration(seconds=20))
    cancelled = asyncio.create_task(jobs_api.call(jobs_api.jobs.ClaimJobs, request))
    # Served beside it, and answered after it has begun.
    assert await jobs_api.claim(kind) == []
    cancelled.cancel()
    await asyncio.wait([cancelled])
    call = asyncio.create_task(jobs_api.call(jobs_api.jobs.ClaimJobs, request))
    job = await jobs_api.submit(kind)
    async with asyncio.timeout(SOON):
        (claimed_job,) = (await call).jobs
    assert claimed_job.job_id == job.job_id


@pytest.mark.parametrize("wait", [Duration(seconds=-1), Duration(seconds=20, nanos=1_000_000)])
async def test_a_wait_has_bounds(jobs_api: JobsApi, kind: str, wait: Duration) -> None:
    request = jobs_service_pb2.ClaimJobsRequest(worker="w", kinds=[kind], max_jobs=1, wait=wait)
    with pytest.raises(errors.InvalidArgument) as excinfo:
        await jobs_api.call(jobs_api.jobs.ClaimJobs, request)
    assert excinfo.value.field == "wait"


async def test_a_service_that_stops_ends_the_wait(
    database_url: Callable[[str], str],
    nats_url: str,
    seeds: dict[str, str],
    trusted_identity_keys: str,
    signer: Signed,
    kind: str,
) -> None:
    target = f"127.0.0.1:{subprocesses.free_port()}"
    config = Settings(
        listen=target,
        database_url=database_url("jobs"),
        nats_url=nats_url,
        identity_key=seeds["jobs"],
        trusted_identity_keys=trusted_identity_keys,
    )
    stop = asyncio.Event()
    serving = asyncio.create_task(jobs_service.serve(config, stop))
    async with connect_jobs_api(target, signer) as jobs_api:
        assert await jobs_api.claim(kind) == []
        request = jobs_service_pb2.ClaimJobsRequest(worker="w", kinds=[kind], max_jobs=1, wait=Duration(seconds=20))
        call = asyncio.create_task(jobs_api.call(jobs_api.jobs.ClaimJobs, request))
        await jobs_api.submit(f"{kind}.else")
        stop.set()
        answered: list[job_pb2.Job] = list((await call).jobs)
        assert answered == []
        await serving
