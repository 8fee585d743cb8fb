"""Claims that wait: one waiting call gets the job, no other is woken, and cancelled calls lose nothing."""

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
from services.jobs import domain
from services.jobs.claims import long_poll, waiters
from services.jobs.maintenance import Maintenance
from services.jobs.operations import Operations
from services.jobs.operators import kind_controls
from services.jobs.settings import Settings
from tests.integration.jobs import jobs_helpers
from tests.integration.jobs.claim_calls import LONG, SOON, Callers, Eventually, got
from tests.integration.jobs.jobs_server import Served, reached

Signed = Callable[[str], Any]


async def test_whoever_waits_gets_what_is_submitted_meanwhile(
    here: Callers, submitted: jobs_helpers.Submit, kind: str
) -> None:
    call = await here.waiting(kind)
    job = await submitted()
    assert await got(call) == [job.job_id]


async def test_whoever_asks_again_waits_for_the_next_one(
    here: Callers, submitted: jobs_helpers.Submit, kind: str
) -> None:
    for _ in range(5):
        call = await here.waiting(kind, limit=10)
        job = await submitted()
        assert await got(call) == [job.job_id]


async def test_of_two_the_first_gets_the_job_and_the_other_one_goes_on_waiting(
    here: Callers, submitted: jobs_helpers.Submit, kind: str
) -> None:
    first, second = await here.waiting(kind), await here.waiting(kind)
    for call in (first, second):
        job = await submitted()
        assert await got(call) == [job.job_id]
        assert here.jobs.waiters.count == (call is first)


async def test_a_wait_ends_empty(here: Callers, kind: str) -> None:
    call = await here.waiting(kind, wait=timedelta(milliseconds=50))
    assert await got(call) == []
    assert here.jobs.waiters.count == 0


async def test_what_was_there_already_needs_no_wait(here: Callers, submitted: jobs_helpers.Submit, kind: str) -> None:
    made = [(await submitted()).job_id for _ in range(3)]
    assert await got(await here_now(here, kind)) == made


async def here_now(here: Callers, kind: str) -> asyncio.Task[list[domain.Job]]:
    """Call where there is something to claim."""
    called = here.jobs.long_poll.claim(worker="waits", kinds=[kind], limit=10, wait=LONG)
    return asyncio.create_task(called)


async def test_none_is_lost_however_many_come_and_go(here: Callers, submitted: jobs_helpers.Submit, kind: str) -> None:
    wanted: set[Any] = set()
    found: list[Any] = []
    served = here.jobs.long_poll

    async def work() -> None:
        while len(found) < 60:
            claimed = await served.claim(worker="waits", kinds=[kind], limit=2, wait=timedelta(seconds=2))
            found.extend(job.job_id for job in claimed)

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(work())
        for _ in range(20):
            jobs = await asyncio.gather(*(submitted() for _ in range(3)))
            wanted |= {job.job_id for job in jobs}
    assert sorted(found) == sorted(wanted)


async def test_jobs_of_other_replicas_wake_who_waits_here(
    heard: list[Callers], spec: jobs_helpers.MakeSpec, kind: str
) -> None:
    one, other = heard
    call = await one.waiting(kind)
    job, _ = await other.jobs.submit(ids.uuid7(), spec())
    assert await got(call) == [job.job_id]


async def test_what_no_doorbell_told_is_found_by_the_reconciler(
    here: Callers, replica: Operations, spec: jobs_helpers.MakeSpec, kind: str
) -> None:
    call = await here.waiting(kind)
    job, _ = await replica.submit(ids.uuid7(), spec())
    await Maintenance(here.jobs).wake_all()
    assert await got(call) == [job.job_id]


async def test_whatever_makes_a_job_runnable_wakes(
    here: Callers, jobs_engine: AsyncEngine, submitted: jobs_helpers.Submit, kind: str
) -> None:
    jobs = here.jobs
    holder, follower = await submitted(concurrency_key="k"), await submitted(concurrency_key="k")
    assert await jobs_helpers.claim(jobs, kind) == [holder.job_id]
    call = await here.waiting(kind)
    await jobs.finish(holder.job_id, 1, domain.Released())
    assert await got(call) == [holder.job_id], "handed back"
    call = await here.waiting(kind)
    await jobs.finish(holder.job_id, 2, jobs_helpers.FINAL)
    assert await got(call) == [follower.job_id], "its place was given on"
    call = await here.waiting(kind)
    await jobs.retry(holder.job_id, owner_id=None)
    await jobs.finish(follower.job_id, 1, domain.Completed())
    assert await got(call) == [holder.job_id], "reopened"
    call = await here.waiting(kind)
    await jobs.finish(holder.job_id, 3, domain.Snoozed(delay=jobs_helpers.HOUR))
    await jobs_helpers.come_due(jobs, jobs_engine, holder.job_id)
    assert await got(call) == [holder.job_id], "its time has come"


async def test_a_pause_that_ends_wakes(here: Callers, submitted: jobs_helpers.Submit, kind: str) -> None:
    steering = kind_controls.KindControls(here.jobs)
    await steering.pause(kind)
    job = await submitted()
    call = await here.waiting(kind)
    await steering.resume(kind)
    assert await got(call) == [job.job_id]


async def test_whoever_leaves_claims_nothing(here: Callers, submitted: jobs_helpers.Submit, kind: str) -> None:
    call = await here.waiting(kind)
    call.cancel()
    await here.come(0)
    job = await submitted()
    assert (job.state, job.attempt) == (domain.State.PENDING, 0)
    assert await jobs_helpers.claim(here.jobs, kind) == [job.job_id]


async def test_the_job_of_one_who_leaves_goes_to_the_next(
    here: Callers, submitted: jobs_helpers.Submit, kind: str
) -> None:
    first, second = await here.waiting(kind), await here.waiting(kind)
    job = await submitted()
    first.cancel()
    await asyncio.wait([first])
    if first.cancelled():
        assert await got(second) == [job.job_id]
    else:
        assert await got(first) == [job.job_id]
        second.cancel()
    await here.come(0)


async def test_what_was_claimed_for_one_who_left_is_handed_back(
    here: Callers, jobs_engine: AsyncEngine, submitted: jobs_helpers.Submit, kind: str, eventually: Eventually
) -> None:
    await kind_controls.KindControls(here.jobs).set_limits(kind_controls.Limits(kind=kind, max_running=5))
    job = await submitted()
    async with jobs_engine.begin() as conn:
        # A claim of a kind with limits waits for the row of the kind.
        lock = sa.text("SELECT pg_backend_pid() FROM jobs.kinds WHERE kind = :kind FOR UPDATE")
        pid = (await conn.execute(lock, {"kind": kind})).scalar_one()
        call = await here_now(here, kind)

        async def stands() -> bool:
            query = sa.text("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE :pid = ANY(pg_blocking_pids(pid)))")
            async with jobs_engine.connect() as look:
                return bool((await look.execute(query, {"pid": pid})).scalar())

        await eventually(stands)
        call.cancel()
        await asyncio.wait([call])

    async def is_back() -> bool:
        now = await here.jobs.get(job.job_id, owner_id=None)
        return (now.state, now.attempt, now.crashes) == (domain.State.RETRYING, 1, 0)

    await eventually(is_back)
    assert await jobs_helpers.claim(here.jobs, kind) == [job.job_id]


async def test_a_full_house_answers_at_once(replica: Operations, eventually: Eventually, kind: str) -> None:
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


async def test_a_call_over_the_wire_waits_and_may_be_cancelled(served: Served, kind: str) -> None:
    request = jobs_service_pb2.ClaimJobsRequest(worker="w", kinds=[kind], max_jobs=1, wait=Duration(seconds=20))
    cancelled = asyncio.create_task(served.call(served.jobs.ClaimJobs, request))
    # Served beside it, and answered after it has begun.
    assert await served.claim(kind) == []
    cancelled.cancel()
    await asyncio.wait([cancelled])
    call = asyncio.create_task(served.call(served.jobs.ClaimJobs, request))
    job = await served.submit(kind)
    async with asyncio.timeout(SOON):
        (claimed,) = (await call).jobs
    assert claimed.job_id == job.job_id


@pytest.mark.parametrize("wait", [Duration(seconds=-1), Duration(seconds=20, nanos=1_000_000)])
async def test_a_wait_has_bounds(served: Served, kind: str, wait: Duration) -> None:
    request = jobs_service_pb2.ClaimJobsRequest(worker="w", kinds=[kind], max_jobs=1, wait=wait)
    with pytest.raises(errors.InvalidArgument) as caught:
        await served.call(served.jobs.ClaimJobs, request)
    assert caught.value.field == "wait"


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
    async with reached(target, signer) as served:
        assert await served.claim(kind) == []
        request = jobs_service_pb2.ClaimJobsRequest(worker="w", kinds=[kind], max_jobs=1, wait=Duration(seconds=20))
        call = asyncio.create_task(served.call(served.jobs.ClaimJobs, request))
        await served.submit(f"{kind}.else")
        stop.set()
        answered: list[job_pb2.Job] = list((await call).jobs)
        assert answered == []
        await serving
