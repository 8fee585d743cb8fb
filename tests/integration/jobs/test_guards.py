"""Guards of concurrent changes of the same job."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import errors, ids
from services.jobs import outcomes, storage
from services.jobs.domain import State
from services.jobs.maintenance import Maintenance
from services.jobs.operations import Operations
from tests.integration.jobs import jobs_helpers

Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]
Meanwhile = Callable[[UUID, str, Coroutine[Any, Any, Any]], Awaitable[Any]]
_CRASHED = "state = 'retrying', ready = true, worker = NULL, lease_until = NULL, max_attempts = max_attempts + 1"
_COMPLETED = "state = 'completed', finished_at = now(), result = '{}', worker = NULL, lease_until = NULL"


@pytest.fixture
def meanwhile(jobs_engine: AsyncEngine, eventually: Eventually) -> Meanwhile:
    """Start a call beside an uncommitted change of a job, and commit the change when the call waits for it."""

    async def call(job_id: UUID, change: str, called: Coroutine[Any, Any, Any]) -> Any:
        waiting = sa.text(
            "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid"
            " WHERE NOT l.granted AND a.application_name = 'test-lifecycle'"
        )
        async with jobs_engine.begin() as conn:
            await conn.execute(sa.text(f"UPDATE jobs.jobs SET {change} WHERE job_id = :id"), {"id": job_id})
            task = asyncio.create_task(called)

            async def is_waiting() -> bool:
                async with jobs_engine.connect() as watcher:
                    return task.done() or (await watcher.scalar(waiting) or 0) > 0

            await eventually(is_waiting)
        return (await asyncio.gather(task, return_exceptions=True))[0]

    return call


async def test_finish_sees_a_concurrent_change(
    jobs: Operations, submit_job: jobs_helpers.Submit, kind: str, meanwhile: Meanwhile
) -> None:
    job = await submit_job()
    await jobs_helpers.claim_one(jobs, kind)
    answer = await meanwhile(job.job_id, _CRASHED, jobs.finish(job.job_id, 1, outcomes.Completed()))
    assert isinstance(answer, errors.Aborted)
    assert await jobs_helpers.state(jobs, job.job_id) is State.RETRYING


async def test_attempt_being_superseded_saves_no_checkpoint(
    jobs: Operations, submit_job: jobs_helpers.Submit, kind: str, meanwhile: Meanwhile
) -> None:
    job = await submit_job()
    await jobs_helpers.claim_one(jobs, kind)
    answer = await meanwhile(job.job_id, _CRASHED, jobs.reports.save_checkpoint(job.job_id, 1, "a", 1))
    assert isinstance(answer, errors.Aborted)
    await jobs_helpers.claim_one(jobs, kind)
    assert await jobs.reports.get_checkpoints(job.job_id, 2) == {}


async def test_attempt_being_superseded_renews_no_lease(
    jobs: Operations, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str, meanwhile: Meanwhile
) -> None:
    job = await submit_job()
    await jobs_helpers.claim_one(jobs, kind)
    held = [(job.job_id, 1)]
    superseded = "attempt = 2, max_attempts = 5, lease_until = '2000-01-01'"
    # The renewal does not wait for the other transaction: until its commit, the attempt holds the lease.
    renewal = jobs.heartbeat(worker="w1", held=held)
    assert await meanwhile(job.job_id, superseded, renewal) == [(*held[0], State.RUNNING)]
    assert await jobs.heartbeat(worker="w1", held=held) == []
    async with jobs_engine.connect() as conn:
        lease = sa.text("SELECT lease_until FROM jobs.jobs WHERE job_id = :id")
        assert (await conn.execute(lease, {"id": job.job_id})).scalar_one().year == 2000


async def test_ending_parent_accepts_no_child(
    jobs: Operations, submit_job: jobs_helpers.Submit, spec: jobs_helpers.MakeSpec, kind: str, meanwhile: Meanwhile
) -> None:
    parent = await submit_job()
    await jobs_helpers.claim_one(jobs, kind)
    answer = await meanwhile(parent.job_id, _COMPLETED, jobs.submit(ids.uuid7(), spec(parent_id=parent.job_id)))
    assert isinstance(answer, errors.FailedPrecondition)
    assert answer.code == "parent_ended"


async def test_cancel_sees_a_concurrent_end(
    jobs: Operations, submit_job: jobs_helpers.Submit, kind: str, meanwhile: Meanwhile
) -> None:
    job = await submit_job()
    await jobs_helpers.claim_one(jobs, kind)
    answer = await meanwhile(job.job_id, _COMPLETED, jobs.cancel(job.job_id, owner_id=None, reason="r"))
    assert isinstance(answer, errors.FailedPrecondition)
    assert answer.code == "job_already_finished"


async def test_locked_jobs_are_skipped(
    jobs: Operations, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    held, free = await submit_job(), await submit_job()
    due = await submit_job(run_at=datetime.now(UTC) + jobs_helpers.HOUR)
    await jobs_helpers.shift(jobs_engine, due.job_id, "run_at = now()")
    async with jobs_engine.begin() as conn:
        lock = sa.text("SELECT 1 FROM jobs.jobs WHERE job_id = ANY(:ids) FOR NO KEY UPDATE")
        await conn.execute(lock, {"ids": [held.job_id, due.job_id]})
        async with asyncio.timeout(60):
            assert await jobs_helpers.claim(jobs, kind) == [free.job_id]
            await Maintenance(jobs).promote_due()
            await Maintenance(jobs).fail_overdue()
            await Maintenance(jobs).cancel_orphans()
    assert await jobs_helpers.claim(jobs, kind) == [held.job_id]


@pytest.mark.parametrize("stale", ["attempt", "state"])
async def test_statement_that_ends_attempts_has_its_own_guard(
    jobs: Operations, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str, stale: str
) -> None:
    job = await submit_job()
    running = await jobs_helpers.claim_one(jobs, kind)
    done = outcomes.Completed()
    decided = [(running, done, outcomes.decide(running, done, jitter=0.5))]
    if stale == "attempt":
        await jobs_helpers.crash(jobs, jobs_engine, job.job_id)
        await jobs_helpers.claim_one(jobs, kind)
    else:
        await jobs_helpers.crash(jobs, jobs_engine, job.job_id)
    before = await jobs.get(job.job_id, owner_id=None)
    async with jobs_engine.begin() as conn:
        assert await storage.end_attempts(conn, decided) == {}
    assert await jobs.get(job.job_id, owner_id=None) == before


async def test_retry_is_refused_if_its_unique_key_is_taken_concurrently(
    jobs: Operations, submit_job: jobs_helpers.Submit, spec: jobs_helpers.MakeSpec
) -> None:
    for n in range(10):
        key = f"{ids.uuid7()}.{n}"
        first = await submit_job(unique_key=key)
        await jobs.cancel(first.job_id, owner_id=None, reason="r")
        answers = await asyncio.gather(
            jobs.retry(first.job_id, owner_id=None),
            jobs.submit(ids.uuid7(), spec(unique_key=key)),
            return_exceptions=True,
        )
        assert sorted(isinstance(answer, errors.AlreadyExists) for answer in answers) == [False, True]
