"""Progress of attempts, and the estimate of their end."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import errors
from services.jobs import domain, outcomes
from services.jobs.operations import Operations
from tests.integration.jobs import jobs_helpers


async def test_progress_never_decreases_within_an_attempt_nor_exceeds_the_total(
    jobs: Operations, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    job = await submit_job()

    async def report(attempt: int, done: int, total: int) -> tuple[int, int]:
        await jobs.reports.report_progress(job.job_id, attempt, domain.Progress(done=done, total=total, message="m"))
        progress = (await jobs.get(job.job_id, owner_id=None)).progress
        return progress.done, progress.total

    await jobs_helpers.claim_one(jobs, kind)
    assert await report(1, 5, 10) == (5, 10)
    assert await report(1, 3, 10) == (5, 10)
    assert await report(1, 8, 6) == (6, 6)
    await jobs_helpers.crash(jobs, jobs_engine, job.job_id)
    await jobs_helpers.claim_one(jobs, kind)
    assert await report(2, 1, 10) == (1, 10)


@pytest.fixture
async def running(jobs: Operations, submit_job: jobs_helpers.Submit, kind: str) -> UUID:
    """Return a job in its first attempt."""
    job = await submit_job()
    await jobs_helpers.claim_one(jobs, kind)
    return job.job_id


async def report(jobs: Operations, engine: AsyncEngine, job_id: UUID, done: int, *, after: float) -> domain.Job:
    """Report progress the given number of seconds after the previous report."""
    await jobs_helpers.shift(engine, job_id, f"progress_at = clock_timestamp() - make_interval(secs => {after})")
    await jobs.reports.report_progress(job_id, 1, domain.Progress(done=done, total=100))
    return await jobs.get(job_id, owner_id=None)


def seconds_left(job: domain.Job) -> float:
    """Return the estimated duration of a job."""
    assert job.progress.estimate is not None
    return (job.progress.estimate - datetime.now(UTC)).total_seconds()


async def test_end_is_estimated_from_the_speed_of_the_attempt(
    jobs: Operations, jobs_engine: AsyncEngine, running: UUID
) -> None:
    await jobs.reports.report_progress(running, 1, domain.Progress(done=0, total=100))
    assert (await jobs.get(running, owner_id=None)).progress.estimate is None, "one report is no rate"
    # So long that the seconds of a busy machine change little.
    steady = seconds_left(await report(jobs, jobs_engine, running, 10, after=10_000))
    assert 60_000 < steady <= 91_000
    slower = seconds_left(await report(jobs, jobs_engine, running, 11, after=20_000))
    assert slower > 2 * steady
    faster = seconds_left(await report(jobs, jobs_engine, running, 60, after=5_000))
    assert faster < steady


async def test_attempt_may_report_nothing_for_hours(jobs: Operations, jobs_engine: AsyncEngine, running: UUID) -> None:
    await jobs.reports.report_progress(running, 1, domain.Progress(done=1, total=100))
    await report(jobs, jobs_engine, running, 2, after=1)
    late = await report(jobs, jobs_engine, running, 3, after=23 * 3600)
    assert late.progress.done == 3
    assert seconds_left(late) > 24 * 3600
    early = await report(jobs, jobs_engine, running, 4, after=-23 * 3600)
    assert early.progress.done == 4


async def test_next_attempt_restarts_the_estimate(
    jobs: Operations, jobs_engine: AsyncEngine, running: UUID, kind: str
) -> None:
    await jobs.reports.report_progress(running, 1, domain.Progress(done=0, total=100))
    assert (await report(jobs, jobs_engine, running, 50, after=1)).progress.estimate is not None
    assert (await jobs_helpers.crash(jobs, jobs_engine, running)).progress.estimate is None
    await jobs_helpers.claim_one(jobs, kind)
    assert (await jobs.get(running, owner_id=None)).progress.estimate is None
    await jobs.reports.report_progress(running, 2, domain.Progress(done=60, total=100))
    assert (await jobs.get(running, owner_id=None)).progress.estimate is None


async def test_a_superseded_attempt_reports_nothing(
    jobs: Operations, jobs_engine: AsyncEngine, running: UUID, kind: str
) -> None:
    await jobs_helpers.crash(jobs, jobs_engine, running)
    with pytest.raises(errors.Aborted):
        await jobs.reports.report_progress(running, 1, domain.Progress(done=9, total=10))
    await jobs_helpers.claim_one(jobs, kind)
    with pytest.raises(errors.Aborted):
        await jobs.reports.report_progress(running, 1, domain.Progress(done=9, total=10))
    assert (await jobs.get(running, owner_id=None)).progress == domain.Progress()


@pytest.mark.parametrize("concurrency_key", [None, "key"])
async def test_completed_attempt_may_include_its_last_progress(
    jobs: Operations, submit_job: jobs_helpers.Submit, kind: str, concurrency_key: str | None
) -> None:
    async def complete(reported: int | None, last: domain.Progress | None) -> tuple[int, int, str]:
        job = await submit_job(concurrency_key=concurrency_key)
        await jobs_helpers.claim_one(jobs, kind)
        if reported is not None:
            await jobs.reports.report_progress(
                job.job_id, 1, domain.Progress(done=reported, total=10, message="reported")
            )
        await jobs.finish(job.job_id, 1, outcomes.Completed(progress=last))
        progress = (await jobs.get(job.job_id, owner_id=None)).progress
        return progress.done, progress.total, progress.message

    last = domain.Progress(done=4, total=4, message="last")
    assert await complete(None, last) == (4, 4, "last")
    assert await complete(2, last) == (4, 4, "last")
    assert await complete(3, domain.Progress(done=1, total=0, message="less")) == (3, 0, "less")
    assert await complete(7, None) == (7, 10, "reported")
    assert await complete(None, None) == (0, 0, "")
