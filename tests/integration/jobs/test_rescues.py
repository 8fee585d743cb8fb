"""Leases: dead workers lose their jobs, living ones keep them, and a stale worker changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import errors, ids, run
from services.jobs import domain, outcomes, reconciler, rescuer
from services.jobs.domain import State
from services.jobs.maintenance import Maintenance
from services.jobs.operations import Operations
from tests.integration.jobs import jobs_helpers


async def test_stale_worker_can_neither_finish_nor_report_nor_renew(
    jobs: Operations, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    job = await submit_job()
    await jobs_helpers.claim_one(jobs, kind, "zombie")
    await jobs_helpers.crash(jobs, jobs_engine, job.job_id)
    await jobs_helpers.claim_one(jobs, kind, "successor")
    for outcome in (outcomes.Completed(), jobs_helpers.ERROR, outcomes.Cancelled(reason="x"), outcomes.Released()):
        with pytest.raises(errors.Aborted) as excinfo:
            await jobs.finish(job.job_id, 1, outcome)
        assert excinfo.value.code == "lease_lost"
    with pytest.raises(errors.Aborted):
        await jobs.reports.report_progress(job.job_id, 1, domain.Progress(done=9, total=10))
    assert await jobs.heartbeat(worker="zombie", held=[(job.job_id, 1)]) == []
    untouched = await jobs.get(job.job_id, owner_id=None)
    assert (untouched.state, untouched.attempt, untouched.progress) == (State.RUNNING, 2, domain.Progress())
    assert (await jobs.finish(job.job_id, 2, outcomes.Completed())).state is State.COMPLETED


async def test_another_worker_cannot_renew_a_lease(
    jobs: Operations, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    job = await submit_job()
    await jobs_helpers.claim_one(jobs, kind, "owner")
    assert await jobs.heartbeat(worker="thief", held=[(job.job_id, 1)]) == []
    assert await jobs.heartbeat(worker="owner", held=[(job.job_id, 1)]) == [(job.job_id, 1, State.RUNNING)]


async def test_a_renewed_lease_is_not_rescued(
    jobs: Operations, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    job = await submit_job()
    await jobs_helpers.claim_one(jobs, kind)
    await jobs_helpers.expire(jobs_engine, job.job_id)
    await jobs.heartbeat(worker="w1", held=[(job.job_id, 1)])
    await jobs_helpers.rescue(jobs)
    assert (await jobs.get(job.job_id, owner_id=None)).state is State.RUNNING


async def test_crashes_do_not_use_up_attempts_but_have_a_limit(
    jobs: Operations, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    job = await submit_job(max_attempts=1)
    for crash in range(1, outcomes.CRASH_LIMIT + 1):
        await jobs_helpers.claim_one(jobs, kind)
        rescued = await jobs_helpers.crash(jobs, jobs_engine, job.job_id)
        assert rescued.crashes == crash
        assert rescued.attempt <= rescued.max_attempts
        assert rescued.state is (State.FAILED if crash == outcomes.CRASH_LIMIT else State.RETRYING)
    assert rescued.error is not None
    assert rescued.error.code == "worker_crashed"


async def test_workers_get_time_to_renew_after_an_outage(
    jobs: Operations,
    jobs_engine: AsyncEngine,
    submit_job: jobs_helpers.Submit,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    job = await submit_job()
    await jobs_helpers.claim_one(jobs, kind)
    await jobs_helpers.expire(jobs_engine, job.job_id)

    async def is_rescued() -> bool:
        await rescues.rescue()
        return (await jobs.get(job.job_id, owner_id=None)).state is State.RETRYING

    async with jobs_engine.connect() as conn:
        up = await conn.scalar(sa.text("SELECT extract(epoch FROM now() - pg_postmaster_start_time())"))
    lease = min(3.0, float(up or 0) / 2)
    monkeypatch.setattr(jobs, "lease", timedelta(seconds=lease))
    rescues = rescuer.Rescuer(Maintenance(jobs), clock=lambda: now)
    assert not await is_rescued(), "it has just started"
    now += 100
    assert not await is_rescued(), "it stood still"
    now += lease / 4
    assert not await is_rescued(), "half a lease has not passed yet"
    now += lease / 2
    assert await is_rescued()


async def test_workers_get_time_to_renew_after_a_restart_of_the_database(
    jobs: Operations, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    job = await submit_job()
    await jobs_helpers.claim_one(jobs, kind)
    await jobs_helpers.expire(jobs_engine, job.job_id)
    # The database was started less than this grace ago.
    await Maintenance(jobs).rescue(grace=timedelta(days=10_000))
    assert (await jobs.get(job.job_id, owner_id=None)).state is State.RUNNING
    await jobs_helpers.rescue(jobs)
    assert (await jobs.get(job.job_id, owner_id=None)).state is State.RETRYING


async def test_due_jobs_do_not_delay_a_rescue(
    jobs: Operations,
    jobs_engine: AsyncEngine,
    submit_job: jobs_helpers.Submit,
    spec: jobs_helpers.MakeSpec,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
    eventually: Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]],
) -> None:
    """The expired lease is rescued while the backlog is still being promoted."""
    monkeypatch.setattr(jobs, "lease", timedelta(seconds=0.5))
    backlog = [ids.uuid7() for _ in range(10_000)]
    later = datetime.now(UTC) + jobs_helpers.HOUR
    for start in range(0, len(backlog), 1_000):
        page = backlog[start : start + 1_000]
        await jobs.submit_many([(job_id, spec(kind=f"{kind}.due", run_at=later)) for job_id in page])
    job = await submit_job()
    await jobs_helpers.claim_one(jobs, kind)
    async with jobs_engine.begin() as conn:
        await conn.execute(sa.text("UPDATE jobs.jobs SET run_at = now() WHERE kind = :kind"), {"kind": f"{kind}.due"})
    left = sa.text("SELECT count(*) FROM jobs.jobs WHERE kind = :kind AND state = 'scheduled'")

    async def is_rescued() -> bool:
        return (await jobs.get(job.job_id, owner_id=None)).state is State.RETRYING

    async with run.Background() as background:
        tasks = Maintenance(jobs)
        background.start("reconciler", reconciler.Reconciler(tasks, is_caught_up=lambda: True).run)
        background.start("rescuer", rescuer.Rescuer(tasks).run)
        await eventually(is_rescued)
        async with jobs_engine.connect() as conn:
            assert await conn.scalar(left, {"kind": f"{kind}.due"})
    async with jobs_engine.begin() as conn:
        await conn.execute(sa.text("DELETE FROM jobs.jobs WHERE kind = :kind"), {"kind": f"{kind}.due"})


async def test_rescues_and_claims_of_many_owners_do_not_deadlock(
    jobs: Operations, jobs_engine: AsyncEngine, kind: str
) -> None:
    """Both lock the owners whose sequences they advance: they must do so in one order."""
    owners = [uuid4(), uuid4(), uuid4()]

    async def submit(owner_id: UUID) -> None:
        await jobs.submit(ids.uuid7(), domain.Spec(kind=kind, owner_id=owner_id, payload={}))

    for _ in range(15):
        for owner_id in owners * 2:
            await submit(owner_id)
        held = await jobs.claim(worker="dies", kinds=[kind], limit=3)
        async with jobs_engine.begin() as conn:
            # The owner that sorts last is the first to be judged.
            for age, job in enumerate(sorted(held, key=lambda job: job.spec.owner_id), start=1):
                past = sa.text(
                    "UPDATE jobs.jobs SET lease_until = now() - make_interval(secs => :age) WHERE job_id = :id"
                )
                await conn.execute(past, {"id": job.job_id, "age": age})
        await asyncio.gather(
            Maintenance(jobs).rescue(grace=timedelta()),
            *(jobs.claim(worker="lives", kinds=[kind], limit=3) for _ in range(2)),
            *(submit(owner_id) for owner_id in owners),
        )


async def test_reconciler_sleeps_until_the_next_due_time(
    jobs: Operations, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    loops = reconciler.Reconciler(Maintenance(jobs), is_caught_up=lambda: True)

    async def rest() -> float | None:
        return (await Maintenance(jobs).find_work()).seconds_to_next

    async def lease() -> float | None:
        return await Maintenance(jobs).seconds_to_lease_expiry()

    job = await submit_job()
    assert await loops.reconcile() == reconciler.BUSY_SECONDS, "a job waits"
    await jobs_helpers.claim_one(jobs, kind)
    await jobs_helpers.shift(jobs_engine, job.job_id, "lease_until = now() + interval '600 ms'")
    seconds = await lease()
    assert seconds is not None
    assert seconds <= 0.6, "a lease expires"
    await jobs.finish(job.job_id, 1, outcomes.Snoozed(delay=timedelta(seconds=0.4)))
    seconds = await rest()
    assert seconds is not None
    assert seconds <= 0.4, "a job is due"
