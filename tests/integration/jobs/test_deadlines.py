"""Deadlines and snoozes: a waiting job fails at its deadline, and a snoozed job resumes at its time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from services.jobs import domain, outcomes
from services.jobs.domain import State
from services.jobs.maintenance import Maintenance
from services.jobs.operations import Operations
from tests.integration.jobs import jobs_helpers

HOUR = timedelta(hours=1)
PAST = "deadline = now() - interval '1 second'"


async def test_deadline_counts_from_the_time_of_the_job(jobs: Operations, submit_job: jobs_helpers.Submit) -> None:
    at_once, later = (
        await submit_job(total_timeout=HOUR),
        await submit_job(total_timeout=HOUR, run_at=datetime.now(UTC) + 2 * HOUR),
    )
    assert at_once.deadline == at_once.created_at + HOUR
    assert later.run_at is not None
    assert later.deadline == later.run_at + HOUR


async def test_jobs_that_wait_beyond_their_deadline_fail(
    jobs: Operations, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    pausing = await submit_job(total_timeout=HOUR)
    await jobs_helpers.claim_one(jobs, kind)
    await jobs.finish(pausing.job_id, 1, jobs_helpers.ERROR)
    scheduled = await submit_job(total_timeout=HOUR, run_at=datetime.now(UTC) + HOUR)
    holder, keyed = await submit_job(concurrency_key="k"), await submit_job(concurrency_key="k", total_timeout=HOUR)
    pending = await submit_job(total_timeout=HOUR)
    in_time = await submit_job(total_timeout=HOUR)
    for job in (pausing, scheduled, keyed, pending):
        await jobs_helpers.shift(jobs_engine, job.job_id, PAST)
    await Maintenance(jobs).fail_overdue()
    for job in (pausing, scheduled, keyed, pending):
        failed = await jobs.get(job.job_id, owner_id=None)
        assert (failed.state, failed.error) == (State.FAILED, domain.DEADLINE_EXCEEDED)
    assert await jobs_helpers.claim(jobs, kind) == [holder.job_id, in_time.job_id]


async def test_running_attempt_may_finish_beyond_the_deadline_but_no_other_follows(
    jobs: Operations, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    endings: list[tuple[outcomes.Outcome, State, str | None]] = [
        (outcomes.Completed(), State.COMPLETED, None),
        (jobs_helpers.ERROR, State.FAILED, "boom"),
        (outcomes.Released(), State.FAILED, "deadline_exceeded"),
        (outcomes.Snoozed(delay=HOUR), State.FAILED, "deadline_exceeded"),
    ]
    for outcome, state, code in endings:
        job = await submit_job(total_timeout=HOUR)
        await jobs_helpers.claim_one(jobs, kind)
        await jobs_helpers.shift(jobs_engine, job.job_id, PAST)
        await Maintenance(jobs).fail_overdue()
        assert await jobs_helpers.state(jobs, job.job_id) is State.RUNNING
        ended = await jobs.finish(job.job_id, 1, outcome)
        assert (ended.state, ended.error and ended.error.code) == (state, code)


async def test_a_rescue_beyond_the_deadline_fails_the_job(
    jobs: Operations, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    job = await submit_job(total_timeout=HOUR)
    await jobs_helpers.claim_one(jobs, kind)
    await jobs_helpers.shift(jobs_engine, job.job_id, PAST)
    rescued = await jobs_helpers.crash(jobs, jobs_engine, job.job_id)
    assert (rescued.state, rescued.error, rescued.crashes) == (State.FAILED, domain.DEADLINE_EXCEEDED, 1)


async def test_a_retry_gives_a_new_deadline(
    jobs: Operations, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    job = await submit_job(total_timeout=HOUR)
    await jobs_helpers.shift(jobs_engine, job.job_id, PAST)
    await Maintenance(jobs).fail_overdue()
    reopened = await jobs.retry(job.job_id, owner_id=None)
    assert reopened.deadline is not None
    assert reopened.deadline > datetime.now(UTC)
    assert reopened.error is None
    await Maintenance(jobs).fail_overdue()
    assert await jobs_helpers.claim(jobs, kind) == [job.job_id]


async def test_snoozed_job_resumes_without_using_an_attempt(
    jobs: Operations, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    job = await submit_job(max_attempts=1)
    for attempt in range(1, 4):
        assert (await jobs_helpers.claim_one(jobs, kind)).attempt == attempt
        snoozed = await jobs.finish(job.job_id, attempt, outcomes.Snoozed(delay=HOUR))
        assert (snoozed.state, snoozed.errors, snoozed.crashes) == (State.SCHEDULED, 0, 0)
        assert snoozed.run_at is not None
        assert snoozed.run_at > datetime.now(UTC) + HOUR / 2
        await Maintenance(jobs).promote_due()
        assert await jobs_helpers.claim(jobs, kind) == []
        await jobs_helpers.come_due(jobs, jobs_engine, job.job_id)
    await jobs_helpers.claim_one(jobs, kind)
    assert (await jobs.finish(job.job_id, 4, jobs_helpers.ERROR)).state is State.FAILED


async def test_cancelling_job_is_cancelled_when_its_handler_snoozes(
    jobs: Operations, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    for outcome in (outcomes.Snoozed(delay=HOUR), outcomes.Waiting(), outcomes.Released()):
        job = await submit_job()
        await jobs_helpers.claim_one(jobs, kind)
        await jobs.cancel(job.job_id, owner_id=None, reason="why")
        ended = await jobs.finish(job.job_id, 1, outcome)
        assert (ended.state, ended.cancel_reason) == (State.CANCELLED, "why")


async def test_pause_between_attempts_is_kept(
    jobs: Operations, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    job = await submit_job(backoff=HOUR, max_backoff=HOUR)
    await jobs_helpers.claim_one(jobs, kind)
    await jobs.finish(job.job_id, 1, jobs_helpers.ERROR)
    await jobs_helpers.shift(jobs_engine, job.job_id, "run_at = now() + interval '1 minute'")
    await Maintenance(jobs).promote_due()
    assert await jobs_helpers.claim(jobs, kind) == []
    await jobs_helpers.come_due(jobs, jobs_engine, job.job_id)
    assert (await jobs_helpers.claim_one(jobs, kind)).attempt == 2
