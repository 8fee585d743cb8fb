"""Claims: order, and no job for two workers."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from services.jobs.domain import State
from services.jobs.maintenance import Maintenance
from services.jobs.operations import Operations
from tests.integration.jobs import jobs_helpers


async def test_two_workers_never_get_the_same_job(jobs: Operations, submit_job: jobs_helpers.Submit, kind: str) -> None:
    submitted_ids = {(await submit_job()).job_id for _ in range(20)}
    claims = await asyncio.gather(*(jobs.claim(worker=f"w{n}", kinds=[kind], limit=3) for n in range(10)))
    job_ids = [job.job_id for claimed in claims for job in claimed]
    assert len(job_ids) == len(set(job_ids))
    assert set(job_ids) <= submitted_ids


async def test_urgent_jobs_are_claimed_first(jobs: Operations, submit_job: jobs_helpers.Submit, kind: str) -> None:
    later, urgent = await submit_job(priority=0), await submit_job(priority=5)
    claimed = await jobs.claim(worker="w1", kinds=[kind], limit=1)
    assert [job.job_id for job in claimed] == [urgent.job_id]
    claimed = await jobs.claim(worker="w1", kinds=[kind], limit=1)
    assert [job.job_id for job in claimed] == [later.job_id]


async def test_a_scheduled_job_waits_for_its_time(
    jobs: Operations, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    job = await submit_job(run_at=datetime.now(UTC) + timedelta(hours=1))
    await Maintenance(jobs).promote_due()
    assert (await jobs.get(job.job_id, owner_id=None)).state is State.SCHEDULED
    assert await jobs.claim(worker="w1", kinds=[kind], limit=10) == []
    await jobs_helpers.come_due(jobs, jobs_engine, job.job_id)
    assert (await jobs.get(job.job_id, owner_id=None)).state is State.PENDING
    assert (await jobs_helpers.claim_one(jobs, kind)).job_id == job.job_id
