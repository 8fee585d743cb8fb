"""Helpers for tests of the jobs service: actions of workers, and the passing of time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import ids, postgres
from services.jobs import domain, maintenance, outcomes, submit
from services.jobs.claims import long_poll
from services.jobs.maintenance import Maintenance
from services.jobs.operations import Operations
from services.jobs.operators import kind_controls

Submit = Callable[..., Awaitable[domain.Job]]
MakeSpec = Callable[..., domain.Spec]
Poison = Callable[..., AbstractAsyncContextManager[None]]
ERROR = outcomes.Failed(error=domain.JobError(code="boom", message="It broke."), retryable=True)
HOUR = timedelta(hours=1)
FINAL = outcomes.Failed(error=domain.JobError(code="final", message="It broke for good."), retryable=False)


async def claim_one(jobs: Operations, kind: str, worker: str = "w1") -> domain.Job:
    """Claim the only runnable job of a kind."""
    (job,) = await jobs.claim(worker=worker, kinds=[kind], limit=10)
    return job


async def claim(jobs: Operations, kind: str, limit: int = 100) -> list[UUID]:
    """Claim jobs of a kind; return their ids in the order in which they run."""
    return [job.job_id for job in await jobs.claim(worker="w1", kinds=[kind], limit=limit)]


async def submit_to_waiting_call(
    jobs: Operations, spec: domain.Spec, kinds: list[str], limit: int, *, job_id: UUID | None = None
) -> tuple[submit.SubmitResult, list[domain.Job]]:
    """Submit a job while a call waits; return the result and the jobs of the call."""
    called = jobs.long_poll.claim(worker="w", kinds=kinds, limit=limit, wait=long_poll.MAX_WAIT)
    call = asyncio.create_task(called)
    await _done_or_resting(jobs, call, kinds)
    (result,) = await jobs.submit_many([(job_id or ids.uuid7(), spec)])
    await _done_or_resting(jobs, call, kinds)
    call.cancel()
    await asyncio.wait([call])
    return result, [] if call.cancelled() else await call


async def _done_or_resting(jobs: Operations, call: asyncio.Task[list[domain.Job]], kinds: list[str]) -> None:
    async with asyncio.timeout(60):
        while not call.done() and not jobs.waiters.longest_idle(kinds):
            await asyncio.sleep(0.001)


async def complete(jobs: Operations, *job_ids: UUID) -> None:
    """Complete the current attempts of claimed jobs."""
    for job_id in job_ids:
        attempt = (await jobs.get(job_id, owner_id=None)).attempt
        await jobs.finish(job_id, attempt, outcomes.Completed())


async def state(jobs: Operations, job_id: UUID) -> domain.State:
    """Return the state of a job."""
    return (await jobs.get(job_id, owner_id=None)).state


async def shift(engine: AsyncEngine, job_id: UUID, change: str) -> None:
    """Change the row of a job directly, as if time had passed."""
    async with engine.begin() as conn:
        await conn.execute(sa.text(f"UPDATE jobs.jobs SET {change} WHERE job_id = :id"), {"id": job_id})


async def expire(engine: AsyncEngine, job_id: UUID) -> None:
    """Expire the lease of a job."""
    await shift(engine, job_id, "lease_until = now() - interval '1 second'")


async def crash(jobs: Operations, engine: AsyncEngine, job_id: UUID) -> domain.Job:
    """Expire the lease of a job and rescue the job."""
    await expire(engine, job_id)
    await rescue(jobs)
    return await jobs.get(job_id, owner_id=None)


async def rescue(jobs: Operations) -> None:
    """Rescue all jobs with an expired lease, those of other tests included."""
    while await Maintenance(jobs).rescue(grace=timedelta()) == maintenance.BATCH:
        pass


async def come_due(jobs: Operations, engine: AsyncEngine, *job_ids: UUID) -> None:
    """Make scheduled and retrying jobs due, and promote them."""
    for job_id in job_ids:
        await shift(engine, job_id, "run_at = now()")
    while await Maintenance(jobs).promote_due() == maintenance.BATCH:
        pass


async def limit(jobs: Operations, kind: str, **arguments: int | timedelta) -> None:
    """Set the limits of a kind."""
    await kind_controls.KindControls(jobs).set_limits(kind_controls.Limits(kind=kind, **arguments))  # type: ignore[arg-type]


async def waits_for_lock(engine: AsyncEngine) -> bool:
    """Return whether a transaction waits for another one."""
    async with postgres.autocommit(engine).connect() as conn:
        # Locks of other databases, in which services of other tests run, are listed as well.
        waits = sa.text(
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database())"
        )
        return bool((await conn.execute(waits)).scalar_one())
