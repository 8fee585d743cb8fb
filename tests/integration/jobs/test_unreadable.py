"""Rows outside this program's bounds: such a job fails with `unreadable`, and blocks no other job."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import ids
from services.jobs import domain, outcomes
from services.jobs.domain import State
from services.jobs.maintenance import Maintenance
from services.jobs.operations import Operations
from tests.integration.jobs import jobs_helpers

BEYOND = {
    "time": "deadline = 'infinity', total_timeout = interval '30 days'",
    "hold": "hold_run_at = '-infinity'",
    "interval": "backoff = interval '3000000 years'",
    "number": "payload = ('{\"n\": 1' || repeat('0', 5000) || '}')::jsonb",
    "depth": "payload = (repeat('[', 3000) || repeat(']', 3000))::jsonb",
}


async def test_bounds_of_a_release_are_no_bounds_of_stored_jobs(
    jobs: Operations, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    job = await submit_job()
    await jobs_helpers.shift(jobs_engine, job.job_id, "backoff = interval '2 hours', max_backoff = interval '1 hour'")
    claimed = await jobs_helpers.claim_one(jobs, kind)
    assert claimed.spec.backoff == timedelta(hours=2)
    assert (await jobs.finish(job.job_id, 1, jobs_helpers.ERROR)).state is State.RETRYING


@pytest.mark.parametrize("beyond", BEYOND)
async def test_unreadable_job_does_not_stop_the_claims_of_its_kind(
    jobs: Operations,
    jobs_engine: AsyncEngine,
    submit_job: jobs_helpers.Submit,
    kind: str,
    owner_id: UUID,
    beyond: str,
) -> None:
    bad = await submit_job()
    other = await submit_job(owner_id=uuid4())
    await jobs_helpers.shift(jobs_engine, bad.job_id, BEYOND[beyond])
    assert await jobs_helpers.claim(jobs, kind) == [other.job_id]
    await assert_failed(jobs, bad, owner_id)


@pytest.mark.parametrize("beyond", BEYOND)
async def test_unreadable_job_does_not_stop_the_rescue_of_others(
    jobs: Operations, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str, owner_id: UUID, beyond: str
) -> None:
    bad, other = await submit_job(), await submit_job(owner_id=uuid4())
    await jobs_helpers.claim(jobs, kind)
    await jobs_helpers.shift(jobs_engine, bad.job_id, BEYOND[beyond])
    for job in (bad, other):
        await jobs_helpers.expire(jobs_engine, job.job_id)
    await jobs_helpers.rescue(jobs)
    assert await jobs_helpers.state(jobs, other.job_id) is State.RETRYING
    await assert_failed(jobs, bad, owner_id)


@pytest.mark.parametrize("beyond", BEYOND)
async def test_unreadable_job_does_not_stop_due_jobs(
    jobs: Operations, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str, owner_id: UUID, beyond: str
) -> None:
    later = ids.timestamp_of(ids.uuid7()) + jobs_helpers.HOUR
    bad, other = await submit_job(run_at=later), await submit_job(run_at=later, owner_id=uuid4())
    await jobs_helpers.shift(jobs_engine, bad.job_id, BEYOND[beyond])
    await jobs_helpers.come_due(jobs, jobs_engine, bad.job_id, other.job_id)
    assert await jobs_helpers.claim(jobs, kind) == [other.job_id]
    await assert_failed(jobs, bad, owner_id)


@pytest.mark.parametrize("task", ["orphans", "overrun"])
async def test_unreadable_job_does_not_stop_the_tidying_of_others(
    jobs: Operations, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str, owner_id: UUID, task: str
) -> None:
    if task == "orphans":
        parent = await submit_job(kind=f"{kind}.parent")
        bad, other = [await submit_job(parent_id=parent.job_id) for _ in range(2)]
        await jobs_helpers.claim(jobs, f"{kind}.parent")
        await jobs.finish(parent.job_id, 1, jobs_helpers.FINAL)
        run, ended = Maintenance(jobs).cancel_orphans, State.CANCELLED
    else:
        bad, other = await submit_job(), await submit_job()
        await jobs_helpers.claim(jobs, kind)
        async with jobs_engine.begin() as conn:
            aged = sa.text("UPDATE jobs.attempts SET started_at = now() - interval '1 day' WHERE job_id = ANY(:ids)")
            await conn.execute(aged, {"ids": [bad.job_id, other.job_id]})
        run, ended = Maintenance(jobs).end_overrun_attempts, State.RETRYING
    await jobs_helpers.shift(jobs_engine, bad.job_id, BEYOND["interval"])
    await run()
    assert await jobs_helpers.state(jobs, other.job_id) is ended
    await assert_failed(jobs, bad, owner_id)


async def test_unreadable_jobs_do_not_stop_lists_finishes_and_handoffs(
    jobs: Operations,
    jobs_engine: AsyncEngine,
    submit_job: jobs_helpers.Submit,
    spec: jobs_helpers.MakeSpec,
    kind: str,
    owner_id: UUID,
) -> None:
    beyond = BEYOND["time"]
    ended, running, waiting = await submit_job(), await submit_job(), await submit_job(kind=f"{kind}.other")
    assert await jobs_helpers.claim(jobs, kind) == [ended.job_id, running.job_id]
    await jobs.finish(ended.job_id, 1, outcomes.Completed(result={"rows": 7}))
    for job in (ended, running, waiting):
        await jobs_helpers.shift(jobs_engine, job.job_id, beyond)
    other = await submit_job()
    await jobs_helpers.claim_one(jobs, kind)
    endings = ((running, outcomes.Completed()), (other, jobs_helpers.FINAL))
    late, ok = await jobs.finish_many([(job.job_id, 1, outcome) for job, outcome in endings])
    assert getattr(late, "code", None) == "lease_lost"
    assert isinstance(ok, domain.Job)
    result, _ = await jobs_helpers.submit_to_waiting_call(jobs, spec(), [kind, f"{kind}.other"], 10)
    assert isinstance(result, tuple)
    page = await jobs.lists.page(owner_id=owner_id, states=[], kinds=[], parent_id=None, page_size=10, page_token="")
    assert {job.job_id for job in page.jobs} >= {ended.job_id, running.job_id, waiting.job_id, other.job_id}
    stored = await jobs.get(ended.job_id, owner_id=owner_id)
    assert (stored.state, stored.result) == (State.COMPLETED, {"rows": 7}), "a finished job stays as it is"


async def assert_failed(jobs: Operations, job: domain.Job, owner_id: UUID) -> None:
    """Check that the job has failed, and that its owner was notified by an event."""
    failed = await jobs.get(job.job_id, owner_id=owner_id)
    assert failed.error is not None
    assert (failed.state, failed.error.code) == (State.FAILED, "unreadable")
    transitions = (await jobs.history(job.job_id, owner_id=owner_id)).transitions
    assert transitions[-1]["reason"] == "unreadable"
    events, latest = await jobs.list_events(owner_id, after=0, limit=100)
    assert len(events) == latest
    assert await Maintenance(jobs).fail_overdue() >= 0
