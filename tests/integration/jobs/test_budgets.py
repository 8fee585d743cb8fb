"""Budgets of errors, crashes and time: what counts, what is taken back, and what the jobs service ends by its own clock."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import errors
from services.jobs import domain, outcomes
from services.jobs.domain import State
from services.jobs.maintenance import Maintenance
from services.jobs.operations import Operations
from tests.integration.jobs import jobs_helpers

OLD = "2 minutes"


async def age_attempt(engine: AsyncEngine, job_id: UUID, age: str) -> None:
    """Let the attempts of a job have begun that long ago."""
    statement = sa.text("UPDATE jobs.attempts SET started_at = now() - CAST(:age AS interval) WHERE job_id = :id")
    async with engine.begin() as conn:
        await conn.execute(statement, {"age": age, "id": job_id})


async def lose_lease(jobs: Operations, engine: AsyncEngine, kind: str, *, survives: bool) -> domain.Job:
    """Claim the job, let its lease expire and rescue it; a worker that survives sends its next heartbeat."""
    held = await jobs_helpers.claim_one(jobs, kind)
    job = await jobs_helpers.crash(jobs, engine, held.job_id)
    if survives:
        assert await jobs.heartbeat(worker="w1", held=[(held.job_id, held.attempt)]) == []
        job = await jobs.get(held.job_id, owner_id=None)
    return job


async def test_job_that_snoozes_for_ever_keeps_its_newest_attempts(
    jobs: Operations, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    """Attempts and their events are deleted when one a thousand later ends. Readers before them get a reset."""
    job = await submit_job()
    limit, snooze = domain.KEPT_ATTEMPTS, outcomes.Snoozed(delay=jobs_helpers.HOUR)
    latest: list[int] = []
    for attempt in range(1, 4):
        await jobs_helpers.come_due(jobs, jobs_engine, *([job.job_id] if attempt > 1 else []))
        held = await jobs_helpers.claim_one(jobs, kind)
        await jobs.finish(job.job_id, held.attempt, snooze)
        latest.append((await jobs.list_events(job.spec.owner_id, after=0, limit=100))[1])
    # The next attempt is the 1,002nd.
    await jobs_helpers.shift(jobs_engine, job.job_id, f"attempt = {limit + 1}, max_attempts = {2 * limit}")
    await jobs_helpers.come_due(jobs, jobs_engine, job.job_id)
    await jobs_helpers.claim_one(jobs, kind)
    await jobs.finish(job.job_id, limit + 2, snooze)
    history = await jobs.history(job.job_id, owner_id=None)
    assert [row["attempt"] for row in history.attempts] == [3, limit + 2]
    assert {row["attempt"] for row in history.transitions} == {3, limit + 1, limit + 2}
    with pytest.raises(errors.OutOfRange):
        await jobs.list_events(job.spec.owner_id, after=0, limit=100)
    events, _ = await jobs.list_events(job.spec.owner_id, after=latest[2], limit=100)
    assert events


async def test_crash_that_the_worker_survived_is_taken_back(
    jobs: Operations, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    job = await submit_job()
    for _ in range(outcomes.CRASH_LIMIT + 1):
        job = await lose_lease(jobs, jobs_engine, kind, survives=True)
        assert (job.state, job.crashes) == (State.RETRYING, 0)
    attempts = (await jobs.history(job.job_id, owner_id=None)).attempts
    assert {(attempt["outcome"], attempt["error_code"]) for attempt in attempts} == {("crashed", "lease_lost")}
    job = await lose_lease(jobs, jobs_engine, kind, survives=False)
    assert job.crashes == 1
    # Each crash is taken back once, and by the worker that had the lease only.
    for worker, attempt in (("w1", 1), ("thief", job.attempt)):
        await jobs.heartbeat(worker=worker, held=[(job.job_id, attempt)])
    assert (await jobs.get(job.job_id, owner_id=None)).crashes == 1


async def test_crashes_of_several_attempts_are_taken_back_together(
    jobs: Operations, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    """A worker that was frozen twice still has both attempts when it asks for their leases."""
    job = await submit_job()
    for crashes in (1, 2):
        assert (await lose_lease(jobs, jobs_engine, kind, survives=False)).crashes == crashes
    assert await jobs.heartbeat(worker="w1", held=[(job.job_id, 1), (job.job_id, 2)]) == []
    assert (await jobs.get(job.job_id, owner_id=None)).crashes == 0


async def test_late_outcome_shows_that_the_worker_survived(
    jobs: Operations, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    job = await submit_job()
    assert (await lose_lease(jobs, jobs_engine, kind, survives=False)).crashes == 1
    # A replica that was frozen hands back what it claimed for a call that is gone.
    (late,) = await jobs.finish_many([(job.job_id, 1, outcomes.Released())])
    assert isinstance(late, errors.Aborted)
    assert (await jobs.get(job.job_id, owner_id=None)).crashes == 0


async def test_crashes_that_workers_survived_have_a_limit(
    jobs: Operations, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    job = await submit_job()
    attempts = 0
    while job.state is not State.FAILED:
        job = await lose_lease(jobs, jobs_engine, kind, survives=True)
        attempts += 1
        assert attempts <= outcomes.FORGIVEN_CRASHES + outcomes.CRASH_LIMIT
    assert job.error is not None
    assert job.error.code == "worker_crashed"
    assert attempts == outcomes.FORGIVEN_CRASHES + outcomes.CRASH_LIMIT


async def test_new_step_makes_the_budgets_full_again(
    jobs: Operations, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    job = await submit_job(max_attempts=2)
    for step in ("fetch", "fetch", "store"):
        held = await jobs_helpers.claim_one(jobs, kind)
        await jobs.reports.save_checkpoint(job.job_id, held.attempt, step, held.attempt)
        job = await jobs.finish(job.job_id, held.attempt, jobs_helpers.ERROR)
        if job.state is State.FAILED:
            break
        await jobs_helpers.come_due(jobs, jobs_engine, job.job_id)
    # The second attempt saved no new step.
    assert (job.state, job.attempt) == (State.FAILED, 2)

    job = await submit_job(max_attempts=2)
    for number in range(5):
        held = await jobs_helpers.claim_one(jobs, kind)
        await jobs.reports.save_checkpoint(job.job_id, held.attempt, f"step {number}", 1)
        job = await jobs.finish(job.job_id, held.attempt, jobs_helpers.ERROR)
        assert (job.state, job.errors) == (State.RETRYING, 1)
        await jobs_helpers.come_due(jobs, jobs_engine, job.job_id)


async def test_moving_checkpoint_of_a_lasting_attempt_forgets_crashes(
    jobs: Operations, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    job = await submit_job()
    for attempt in range(1, 4):
        held = await jobs_helpers.claim_one(jobs, kind)
        await jobs.reports.save_checkpoint(job.job_id, attempt, "@state", attempt)
        crashes = (await jobs_helpers.crash(jobs, jobs_engine, job.job_id)).crashes
        assert (crashes, held.attempt) == (attempt, attempt)
    held = await jobs_helpers.claim_one(jobs, kind)
    saves: list[tuple[str, Any, int]] = [("now", 4, 3), (OLD, 4, 3), (OLD, 5, 0)]
    for age, value, crashes in saves:
        await age_attempt(jobs_engine, job.job_id, "0" if age == "now" else age)
        await jobs.reports.save_checkpoint(job.job_id, held.attempt, "@state", value)
        assert (await jobs.get(job.job_id, owner_id=None)).crashes == crashes


async def test_attempt_that_ignores_its_timeout_is_ended_by_the_service(
    jobs: Operations, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    job, other = await submit_job(), await submit_job()
    for held in await jobs.claim(worker="w1", kinds=[kind], limit=2):
        # Half a minute before its end: a busy machine takes seconds.
        await age_attempt(jobs_engine, held.job_id, "10 minutes 30 seconds")
    await jobs.cancel(other.job_id, owner_id=None, reason="unwanted")
    keys = [(job.job_id, 1), (other.job_id, 1)]
    await Maintenance(jobs).end_overrun_attempts()
    assert len(await jobs.heartbeat(worker="w1", held=keys)) == 2
    for held in (job, other):
        await age_attempt(jobs_engine, held.job_id, "11 minutes 1 second")
    await Maintenance(jobs).end_overrun_attempts()
    assert await jobs.heartbeat(worker="w1", held=keys) == []
    response = await jobs.get(job.job_id, owner_id=None)
    assert response.error is not None
    assert (response.state, response.error.code, response.errors) == (State.RETRYING, "attempt_timeout", 1)
    cancelled = await jobs.get(other.job_id, owner_id=None)
    assert (cancelled.state, cancelled.cancel_reason) == (State.CANCELLED, "unwanted")


async def test_claim_names_the_time_left_by_the_clock_of_the_database(
    jobs: Operations, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    await submit_job(total_timeout=jobs_helpers.HOUR)
    await submit_job()
    first, second = await jobs.claim(worker="w1", kinds=[kind], limit=2)
    assert first.time_left is not None
    assert jobs_helpers.HOUR * 0.9 < first.time_left <= jobs_helpers.HOUR
    assert second.time_left is None
