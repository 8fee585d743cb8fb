"""Demo modes that `import-legacy` has stored: one that was on is built again, one that was stuck can be enabled."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from provision.legacy import mapping, target
from services.demo import dataset
from services.demo.domain import State
from tests.integration.demo.conftest import Demo, Owner
from worker import JobsClient

Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]


async def import_mode(engine: AsyncEngine, owner: Owner, **columns: Any) -> None:
    row = {"id": owner.owner_id, "email": "ada@example.org", **columns}
    mode = mapping.user(row, datetime.now(UTC)).demo
    assert mode is not None
    async with engine.begin() as conn:
        await conn.execute(sa.insert(target.DEMO_MODES), mode)


async def test_demo_mode_that_was_on_is_submitted_by_the_sweep(
    owner: Owner, demo_with_jobs: Demo, jobs: JobsClient, engine: AsyncEngine, eventually: Eventually
) -> None:
    await import_mode(engine, owner, demo_mode=True)
    mode = await owner.mode()
    assert mode.state is State.ENABLING

    async def submitted() -> bool:
        await demo_with_jobs.settler.sweep(age=timedelta())
        return await jobs.get(str(mode.job_id)) is not None

    await eventually(submitted)
    job = await jobs.get(str(mode.job_id))
    assert job is not None
    assert (job.spec.kind, job.spec.owner_id) == ("demo.enable", str(owner.owner_id))


async def test_a_sweep_submits_a_bounded_number_of_imported_jobs(
    make_owner: Callable[[], Owner], demo_with_jobs: Demo, jobs: JobsClient, engine: AsyncEngine, eventually: Eventually
) -> None:
    most = 60
    owners = [make_owner() for _ in range(most + 20)]
    for owner in owners:
        await import_mode(engine, owner, demo_mode=True)
    job_ids = [str((await owner.mode()).job_id) for owner in owners]

    async def submitted() -> int:
        return sum([await jobs.get(job_id) is not None for job_id in job_ids])

    await demo_with_jobs.settler.sweep(age=timedelta())
    assert await submitted() <= most, "users come first"

    async def all_are() -> bool:
        await demo_with_jobs.settler.sweep(age=timedelta())
        return await submitted() == len(owners)

    await eventually(all_are)


async def test_demo_mode_that_was_stuck_has_failed_and_can_be_enabled(owner: Owner, engine: AsyncEngine) -> None:
    await import_mode(engine, owner, demo_mode=True, demo_mode_status="enabling")
    mode = await owner.mode()
    assert mode.state is State.FAILED
    assert mode.error is not None
    assert mode.error.code == "legacy_interrupted"
    accepted = await owner.enable()
    assert (accepted.mode.state, accepted.mode.generation) == (State.ENABLING, 2)


def test_options_of_imported_demo_modes_are_the_defaults() -> None:
    assert mapping.DEMO_OPTIONS["profile_type"] in dataset.PROFILE_TYPES
    assert mapping.DEMO_OPTIONS["niche"] in dataset.NICHES
    assert mapping.DEMO_OPTIONS["content_count"] == dataset.DEFAULT_CONTENT
    assert mapping.DEMO_OPTIONS["interaction_count"] == dataset.DEFAULT_INTERACTIONS
