"""Cancels of waiting and of running jobs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import errors
from services.jobs import outcomes
from services.jobs.domain import State
from services.jobs.operations import Operations
from tests.integration.jobs import jobs_helpers


async def test_waiting_jobs_are_cancelled_at_once(jobs: Operations, submit_job: jobs_helpers.Submit, kind: str) -> None:
    for job in (await submit_job(), await submit_job(run_at=datetime.now(UTC) + timedelta(hours=1))):
        cancelled = await jobs.cancel(job.job_id, owner_id=None, reason="requested")
        assert (cancelled.state, cancelled.cancel_reason) == (State.CANCELLED, "requested")
        assert await jobs.cancel(job.job_id, owner_id=None, reason="again") == cancelled
    assert await jobs.claim(worker="w1", kinds=[kind], limit=10) == []


async def test_a_running_job_is_asked_to_stop_by_its_heartbeat(
    jobs: Operations, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    job = await submit_job()
    await jobs_helpers.claim_one(jobs, kind)
    assert (await jobs.cancel(job.job_id, owner_id=None, reason="requested")).state is State.CANCELLING
    assert await jobs.heartbeat(worker="w1", held=[(job.job_id, 1)]) == [(job.job_id, 1, State.CANCELLING)]
    stopped = await jobs.finish(job.job_id, 1, outcomes.Cancelled(reason="requested"))
    assert stopped.state is State.CANCELLED


async def test_a_handler_that_finishes_before_the_cancel_arrives_wins(
    jobs: Operations, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    job = await submit_job()
    await jobs_helpers.claim_one(jobs, kind)
    await jobs.cancel(job.job_id, owner_id=None, reason="requested")
    assert (await jobs.finish(job.job_id, 1, outcomes.Completed())).state is State.COMPLETED
    with pytest.raises(errors.FailedPrecondition) as excinfo:
        await jobs.cancel(job.job_id, owner_id=None, reason="requested")
    assert excinfo.value.code == "job_already_finished"


async def test_cancelling_job_of_a_dead_worker_is_cancelled(
    jobs: Operations, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    job = await submit_job()
    await jobs_helpers.claim_one(jobs, kind)
    await jobs.cancel(job.job_id, owner_id=None, reason="because")
    rescued = await jobs_helpers.crash(jobs, jobs_engine, job.job_id)
    assert (rescued.state, rescued.cancel_reason) == (State.CANCELLED, "because")
