"""Progress: how far an attempt has come, and when it will be done."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncEngine

from services.jobs import domain
from services.jobs.operations import Operations
from tests.integration.jobs import steps


async def test_progress_never_falls_within_an_attempt_nor_passes_the_total(
    jobs: Operations, jobs_engine: AsyncEngine, submitted: steps.Submit, kind: str
) -> None:
    job = await submitted()

    async def report(attempt: int, done: int, total: int) -> tuple[int, int]:
        await jobs.report_progress(job.job_id, attempt, domain.Progress(done=done, total=total, message="m"))
        progress = (await jobs.get(job.job_id, owner_id=None)).progress
        return progress.done, progress.total

    await steps.claim_one(jobs, kind)
    assert await report(1, 5, 10) == (5, 10)
    assert await report(1, 3, 10) == (5, 10)
    assert await report(1, 8, 6) == (6, 6)
    await steps.crash(jobs, jobs_engine, job.job_id)
    await steps.claim_one(jobs, kind)
    assert await report(2, 1, 10) == (1, 10)
