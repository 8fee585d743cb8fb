"""Outcomes of attempts, and the resulting states of their jobs."""

from __future__ import annotations

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import errors
from services.jobs import outcomes
from services.jobs.domain import State
from services.jobs.operations import Operations
from tests.integration.jobs import jobs_helpers


async def test_a_job_runs_from_submit_to_result(jobs: Operations, submit_job: jobs_helpers.Submit, kind: str) -> None:
    job = await submit_job()
    assert job.state is State.PENDING
    running = await jobs_helpers.claim_one(jobs, kind)
    assert (running.job_id, running.state, running.attempt) == (job.job_id, State.RUNNING, 1)
    done = await jobs.finish(job.job_id, 1, outcomes.Completed(result={"rows": 3}))
    assert (done.state, done.result) == (State.COMPLETED, {"rows": 3})
    assert done.finished_at is not None
    assert await jobs.claim(worker="w1", kinds=[kind], limit=10) == []


async def test_errors_are_retried_until_the_budget_is_used_up(
    jobs: Operations, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    job = await submit_job(max_attempts=3)
    for attempt, expected in ((1, State.RETRYING), (2, State.RETRYING), (3, State.FAILED)):
        await jobs_helpers.claim_one(jobs, kind)
        ended = await jobs.finish(job.job_id, attempt, jobs_helpers.ERROR)
        assert ended.state is expected
        await jobs_helpers.come_due(jobs, jobs_engine, job.job_id)
    assert ended.error == jobs_helpers.ERROR.error
    assert await jobs.claim(worker="w1", kinds=[kind], limit=10) == []


async def test_a_final_error_is_not_retried(jobs: Operations, submit_job: jobs_helpers.Submit, kind: str) -> None:
    job = await submit_job()
    await jobs_helpers.claim_one(jobs, kind)
    final = outcomes.Failed(error=jobs_helpers.ERROR.error, retryable=False)
    assert (await jobs.finish(job.job_id, 1, final)).state is State.FAILED


async def test_a_released_job_is_claimed_again_without_using_an_attempt(
    jobs: Operations, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    job = await submit_job(max_attempts=1)
    await jobs_helpers.claim_one(jobs, kind)
    assert (await jobs.finish(job.job_id, 1, outcomes.Released())).state is State.RETRYING
    again = await jobs_helpers.claim_one(jobs, kind)
    assert (again.attempt, again.max_attempts) == (2, 2)


async def test_repeated_finish_counts_once(jobs: Operations, submit_job: jobs_helpers.Submit, kind: str) -> None:
    job = await submit_job()
    await jobs_helpers.claim_one(jobs, kind)
    first = await jobs.finish(job.job_id, 1, outcomes.Completed(result={"a": 1}))
    second = await jobs.finish(job.job_id, 1, outcomes.Completed(result={"a": 1}))
    assert second == first
    with pytest.raises(errors.Aborted):
        await jobs.finish(job.job_id, 1, jobs_helpers.ERROR)


async def test_retry_reopens_with_a_fresh_budget_and_new_attempt_numbers(
    jobs: Operations, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    job = await submit_job(max_attempts=1)
    await jobs_helpers.claim_one(jobs, kind)
    await jobs.finish(job.job_id, 1, jobs_helpers.ERROR)
    reopened = await jobs.retry(job.job_id, owner_id=None)
    assert (reopened.state, reopened.error, reopened.finished_at) == (State.PENDING, None, None)
    again = await jobs_helpers.claim_one(jobs, kind)
    assert (again.attempt, again.max_attempts) == (2, 2)
    with pytest.raises(errors.FailedPrecondition) as excinfo:
        await jobs.retry(job.job_id, owner_id=None)
    assert excinfo.value.code == "job_not_retryable"


async def test_job_of_the_previous_system_cannot_be_retried(
    jobs: Operations, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    job = await submit_job(kind=f"legacy.{kind}", max_attempts=1)
    await jobs_helpers.claim_one(jobs, job.spec.kind)
    await jobs.finish(job.job_id, 1, jobs_helpers.ERROR)
    with pytest.raises(errors.FailedPrecondition) as excinfo:
        await jobs.retry(job.job_id, owner_id=None)
    assert excinfo.value.code == "job_not_retryable"
