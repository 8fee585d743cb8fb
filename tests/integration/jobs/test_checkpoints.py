"""Checkpoints: later attempts read them, and a superseded attempt saves none."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import errors, ids
from services.jobs import checkpoints, outcomes
from services.jobs.operations import Operations
from tests.integration.jobs import jobs_helpers
from tests.integration.jobs.claim_calls import Eventually


@pytest.fixture
async def job_id(jobs: Operations, submit_job: jobs_helpers.Submit, kind: str) -> UUID:
    """Return a job in its first attempt."""
    job = await submit_job()
    await jobs_helpers.claim_one(jobs, kind)
    return job.job_id


@pytest.fixture
def all_wait(jobs_engine: AsyncEngine, eventually: Eventually) -> Callable[[int], Awaitable[None]]:
    """Return a function that waits until this many calls wait for the row of a job."""
    # Queries are shown by their first kilobyte.
    waiting = sa.text(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        " AND query LIKE '%FOR NO KEY UPDATE%'"
    )

    async def wait(calls: int) -> None:
        async def are_waiting() -> bool:
            async with jobs_engine.connect() as conn:
                return bool(await conn.scalar(waiting) == calls)

        await eventually(are_waiting)

    return wait


async def test_later_attempt_reads_checkpoints_of_earlier_ones(
    jobs: Operations, jobs_engine: AsyncEngine, job_id: UUID, kind: str
) -> None:
    values: dict[str, Any] = {"a": {"n": 1}, "none": None, "list": [1, "x"], "text": "t", "zero": 0, "no": False}
    for name, value in values.items():
        await jobs.reports.save_checkpoint(job_id, 1, name, value)
    await jobs.reports.save_checkpoint(job_id, 1, "a", {"n": 2})
    await jobs_helpers.crash(jobs, jobs_engine, job_id)
    await jobs_helpers.claim_one(jobs, kind)
    assert await jobs.reports.get_checkpoints(job_id, 2) == {**values, "a": {"n": 2}}


async def test_superseded_attempt_neither_saves_nor_reads_checkpoints(
    jobs: Operations, jobs_engine: AsyncEngine, job_id: UUID, kind: str
) -> None:
    await jobs.reports.save_checkpoint(job_id, 1, "a", 1)
    await jobs_helpers.crash(jobs, jobs_engine, job_id)

    async def refused(attempt: int) -> None:
        for call in (
            jobs.reports.save_checkpoint(job_id, attempt, "a", 2),
            jobs.reports.get_checkpoints(job_id, attempt),
        ):
            with pytest.raises(errors.Aborted) as excinfo:
                await call
            assert excinfo.value.code == "lease_lost"

    await refused(1)
    await jobs_helpers.claim_one(jobs, kind)
    await refused(1)
    assert await jobs.reports.get_checkpoints(job_id, 2) == {"a": 1}
    await jobs.finish(job_id, 2, outcomes.Completed())
    await refused(2)


async def test_cancelling_job_may_still_save_checkpoints(jobs: Operations, job_id: UUID) -> None:
    await jobs.cancel(job_id, owner_id=None, reason="r")
    await jobs.reports.save_checkpoint(job_id, 1, "a", 1)
    assert await jobs.reports.get_checkpoints(job_id, 1) == {"a": 1}


async def test_checkpoints_survive_a_retry(jobs: Operations, job_id: UUID, kind: str) -> None:
    await jobs.reports.save_checkpoint(job_id, 1, "a", 1)
    await jobs.finish(job_id, 1, jobs_helpers.FINAL)
    await jobs.retry(job_id, owner_id=None)
    await jobs_helpers.claim_one(jobs, kind)
    assert await jobs.reports.get_checkpoints(job_id, 2) == {"a": 1}


async def test_checkpoints_of_a_job_are_bounded(jobs: Operations, jobs_engine: AsyncEngine, job_id: UUID) -> None:
    fill = sa.text(
        "INSERT INTO jobs.checkpoints (job_id, name, attempt, value)"
        " SELECT :job_id, 'n' || n, 1, '1' FROM generate_series(1, :most) n"
    )
    async with jobs_engine.begin() as conn:
        await conn.execute(fill, {"job_id": job_id, "most": checkpoints.MAX_CHECKPOINTS - 1})
    await jobs.reports.save_checkpoint(job_id, 1, "last", 1)
    with pytest.raises(errors.ResourceExhausted) as excinfo:
        await jobs.reports.save_checkpoint(job_id, 1, "one more", 1)
    assert excinfo.value.code == "too_many_checkpoints"
    assert "one more" not in await jobs.reports.get_checkpoints(job_id, 1)
    await jobs.reports.save_checkpoint(job_id, 1, "n1", {"replaced": True})
    assert (await jobs.reports.get_checkpoints(job_id, 1))["n1"] == {"replaced": True}


async def test_checkpoints_that_are_saved_at_once_are_bounded(
    jobs: Operations,
    jobs_engine: AsyncEngine,
    job_id: UUID,
    all_wait: Callable[[int], Awaitable[None]],
) -> None:
    """Each call counts what those before it have saved, also when they wait for the same row."""
    value = "x" * (checkpoints.MAX_BYTES // 4)
    async with jobs_engine.begin() as conn:
        await conn.execute(sa.text("SELECT FROM jobs.jobs WHERE job_id = :id FOR UPDATE"), {"id": job_id})
        calls = (jobs.reports.save_checkpoint(job_id, 1, f"step-{number}", value) for number in range(8))
        saves = [asyncio.create_task(call) for call in calls]
        await all_wait(len(saves))
    results = await asyncio.gather(*saves, return_exceptions=True)
    refused = [result.code for result in results if isinstance(result, errors.ResourceExhausted)]
    assert refused == ["checkpoints_too_large"] * 5
    assert len(await jobs.reports.get_checkpoints(job_id, 1)) == 3


@pytest.mark.parametrize("name", ["", "n" * 101, "a\x00b"])
async def test_invalid_name_is_refused(jobs: Operations, job_id: UUID, name: str) -> None:
    with pytest.raises(errors.InvalidArgument) as excinfo:
        await jobs.reports.save_checkpoint(job_id, 1, name, 1)
    assert excinfo.value.field == "name"


async def test_steps_that_end_at_once_after_an_error_are_all_saved(
    jobs: Operations,
    jobs_engine: AsyncEngine,
    job_id: UUID,
    kind: str,
    all_wait: Callable[[int], Awaitable[None]],
) -> None:
    await jobs.finish(job_id, 1, jobs_helpers.ERROR)
    await jobs_helpers.come_due(jobs, jobs_engine, job_id)
    await jobs_helpers.claim_one(jobs, kind)
    names = [f"step-{number}" for number in range(8)]
    async with jobs_engine.begin() as conn:
        await conn.execute(sa.text("SELECT FROM jobs.jobs WHERE job_id = :id FOR UPDATE"), {"id": job_id})
        saves = [asyncio.create_task(jobs.reports.save_checkpoint(job_id, 2, name, 1)) for name in names]
        await all_wait(len(names))
    await asyncio.gather(*saves)
    assert await jobs.reports.get_checkpoints(job_id, 2) == dict.fromkeys(names, 1)


async def test_unknown_job_has_no_lease(jobs: Operations) -> None:
    with pytest.raises(errors.Aborted):
        await jobs.reports.save_checkpoint(ids.uuid7(), 1, "a", 1)


async def test_call_that_arrives_late_replaces_no_later_value(
    jobs: Operations, jobs_engine: AsyncEngine, job_id: UUID, kind: str
) -> None:
    for number in (1, 3, 3, 2):
        await jobs.reports.save_checkpoint(job_id, 1, "position", number, number=number)
    await jobs.reports.save_checkpoint(job_id, 1, "other", "first", number=2)
    assert await jobs.reports.get_checkpoints(job_id, 1) == {"position": 3, "other": "first"}
    await jobs_helpers.crash(jobs, jobs_engine, job_id)
    await jobs_helpers.claim_one(jobs, kind)
    await jobs.reports.save_checkpoint(job_id, 2, "position", "of the next attempt", number=1)
    assert (await jobs.reports.get_checkpoints(job_id, 2))["position"] == "of the next attempt"
