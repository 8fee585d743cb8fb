"""Suspects: jobs whose workers died repeatedly. A worker runs one at a time, so that one poison job fails and no other."""

from __future__ import annotations

from uuid import UUID, uuid4

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from services.jobs import domain, outcomes
from services.jobs.domain import State
from services.jobs.maintenance import Maintenance
from services.jobs.operations import Operations
from tests.integration.jobs import jobs_helpers

MANY = 100


async def kill(jobs: Operations, engine: AsyncEngine, held: list[domain.Job]) -> None:
    """Let the worker of these jobs die, and rescue them."""
    for job in held:
        await jobs_helpers.expire(engine, job.job_id)
    await jobs_helpers.rescue(jobs)


async def claim(jobs: Operations, worker: str, *kinds: str, limit: int = MANY) -> list[domain.Job]:
    """Claim for a worker of these kinds: those of other tests may hold suspects."""
    return await jobs.claim(worker=f"{worker} of {kinds[0]}", kinds=kinds, limit=limit)


async def suspects(jobs: Operations, engine: AsyncEngine, *kinds: str) -> None:
    """Let two workers die that have run all jobs of these kinds for an hour."""
    for _ in range(outcomes.SUSPECT_CRASHES):
        held = await claim(jobs, "dies", *kinds)
        await kill(jobs, engine, held)
    for job in held:
        await last_crash_took(engine, job.job_id, 3_600.0)


async def last_crash_took(engine: AsyncEngine, job_id: UUID, seconds: float) -> None:
    """Let the attempts of a job that crashed have lasted so long."""
    statement = sa.text("""UPDATE jobs.attempts SET started_at = finished_at - make_interval(secs => :seconds)
        WHERE job_id = :id AND outcome = 'crashed'""")
    async with engine.begin() as conn:
        await conn.execute(statement, {"seconds": seconds, "id": job_id})


async def began(engine: AsyncEngine, job: domain.Job, seconds: float) -> None:
    """Let the running attempt of a job have begun so long ago."""
    statement = sa.text("""UPDATE jobs.attempts SET started_at = now() - make_interval(secs => :seconds)
        WHERE job_id = :id AND attempt = :attempt""")
    async with engine.begin() as conn:
        await conn.execute(statement, {"seconds": seconds, "id": job.job_id, "attempt": job.attempt})


async def test_jobs_beside_one_that_kills_its_workers_complete(
    jobs: Operations, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    """They last longer than their workers live, until a worker runs them without the poison job."""
    others = [await submit_job() for _ in range(3)]
    poison = await submit_job()
    others += [await submit_job(kind=f"{kind}.other") for _ in range(3)]
    for number in range(30):
        held = await claim(jobs, f"worker {number}", kind, f"{kind}.other")
        if poison.job_id in {job.job_id for job in held}:
            await kill(jobs, jobs_engine, held)
        else:
            await jobs_helpers.complete(jobs, *(job.job_id for job in held))
    failed = await jobs.get(poison.job_id, owner_id=None)
    assert failed.error is not None
    assert (failed.state, failed.error.code) == (State.FAILED, "worker_crashed")
    assert {await jobs_helpers.state(jobs, job.job_id) for job in others} == {State.COMPLETED}


async def test_worker_with_a_suspect_gets_other_jobs_but_no_other_suspect(
    jobs: Operations, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    first, second, third = [(await submit_job()).job_id for _ in range(3)]
    await suspects(jobs, jobs_engine, kind)
    new = [(await submit_job()).job_id for _ in range(2)]
    assert {job.job_id for job in await claim(jobs, "w1", kind)} == {first, *new}
    newest = (await submit_job()).job_id
    # Suspects are first in the queue. They take no place of a claim from the jobs behind them.
    assert [job.job_id for job in await claim(jobs, "w1", kind, limit=1)] == [newest]
    assert [job.job_id for job in await claim(jobs, "w2", kind)] == [second]
    await jobs_helpers.complete(jobs, first)
    assert [job.job_id for job in await claim(jobs, "w1", kind)] == [third]


async def test_claim_of_several_kinds_gets_one_suspect(
    jobs: Operations, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    kinds = [f"{kind}.{number}" for number in range(3)]
    stored = {(await submit_job(kind=name)).job_id for name in kinds}
    await suspects(jobs, jobs_engine, *kinds)
    claimed = [await claim(jobs, f"w{number}", *kinds) for number in range(3)]
    assert [len(held) for held in claimed] == [1, 1, 1]
    assert {job.job_id for held in claimed for job in held} == stored


async def test_suspect_that_outlives_its_last_crash_keeps_no_other_waiting(
    jobs: Operations, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    jobs_of_kind = [(await submit_job()).job_id for _ in range(3)]
    await suspects(jobs, jobs_engine, kind)
    await last_crash_took(jobs_engine, jobs_of_kind[0], 60.0)
    (first,) = await claim(jobs, "w1", kind)
    await began(jobs_engine, first, 5.0)
    assert await claim(jobs, "w1", kind) == []
    await began(jobs_engine, first, 61.0 + outcomes.RESCUE_JITTER.total_seconds())
    (second,) = await claim(jobs, "w1", kind)
    # It crashed after an hour.
    await began(jobs_engine, second, outcomes.MAX_PROBATION.total_seconds() - 60.0)
    assert await claim(jobs, "w1", kind) == []
    await began(jobs_engine, second, outcomes.MAX_PROBATION.total_seconds() + 1.0)
    (third,) = await claim(jobs, "w1", kind)
    assert [first.job_id, second.job_id, third.job_id] == jobs_of_kind


async def test_crash_counts_for_no_suspect_that_has_outlived_its_own_beside_one_that_has_not(
    jobs: Operations, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    """A job that kills its worker soon joins jobs that have run for long."""
    lasting, poison = [(await submit_job()).job_id for _ in range(2)]
    await suspects(jobs, jobs_engine, kind)
    for crashes in range(outcomes.SUSPECT_CRASHES + 1, outcomes.CRASH_LIMIT + 1):
        worker = f"w{crashes}"
        await last_crash_took(jobs_engine, poison, 3_600.0)
        (held,) = await claim(jobs, worker, kind)
        await began(jobs_engine, held, 4_000.0)
        assert [job.job_id for job in await claim(jobs, worker, kind)] == [poison]
        await kill(jobs, jobs_engine, [held, await jobs.get(poison, owner_id=None)])
        assert (await jobs.get(poison, owner_id=None)).crashes == crashes
        assert (await jobs.get(lasting, owner_id=None)).crashes == outcomes.SUSPECT_CRASHES
    assert await jobs_helpers.state(jobs, poison) is State.FAILED
    # Without another suspect it may be the cause.
    (held,) = await claim(jobs, "last", kind)
    await began(jobs_engine, held, 4_000.0)
    await kill(jobs, jobs_engine, [held])
    assert (await jobs.get(lasting, owner_id=None)).crashes == outcomes.SUSPECT_CRASHES + 1


async def test_waiting_suspect_does_not_hold_the_rank_of_its_kind(
    jobs: Operations, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, owner_id: UUID, kind: str
) -> None:
    for _ in range(2):
        await submit_job(owner_id=uuid4())
    await suspects(jobs, jobs_engine, kind)
    assert len(await claim(jobs, "w1", kind)) == 1
    for _ in range(40):
        await submit_job()
    await claim(jobs, "w1", kind, limit=20)
    await Maintenance(jobs).advance_fair_ranks()
    other = uuid4()
    for _ in range(10):
        await submit_job(owner_id=other)
    owners = [job.spec.owner_id for job in await claim(jobs, "w1", kind, limit=10)]
    assert owners.count(owner_id) == owners.count(other) == 5
