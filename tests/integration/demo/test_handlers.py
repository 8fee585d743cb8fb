"""The handlers on a real database: exact rows after crashes, no writes by superseded attempts."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from typing import cast

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

import worker
from chassis import postgres
from lifecycle.machine import JobPhase
from services.demo import handlers
from services.demo.domain import State
from tests.integration.demo.conftest import Cancelling, Crashing, Owner, Paused


async def test_enable_writes_exactly_the_requested_rows(owner: Owner) -> None:
    await owner.enable()
    context = await owner.context()
    result = await handlers.enable(owner.dependencies, context)
    assert result == {"profile_type": "creator", "niche": "food", "content_count": 12, "interaction_count": 2_500}
    assert await owner.stored() == await owner.asked_for()
    mode = await owner.mode()
    assert mode.state is State.ENABLED
    assert (mode.content_written, mode.interactions_written) == (12, 2_500)
    assert mode.enabled_at
    assert await owner.published_events() == [("enable_accepted", 1), ("enabled", mode.version)]
    assert context.latest_progress
    assert (context.latest_progress.done, context.latest_progress.total) == (2_500, 2_500)


@pytest.mark.parametrize("interactions", [0, 1, 700, 1_000, 1_400])
async def test_enable_at_the_edges_of_batches(owner: Owner, interactions: int) -> None:
    await owner.enabled(content=1, interactions=interactions)
    assert await owner.stored() == await owner.asked_for()
    assert (await owner.mode()).state is State.ENABLED


async def test_each_change_of_the_snapshot_has_a_new_version(owner: Owner) -> None:
    await owner.enabled(interactions=2_500)
    # Accepted, content, three batches, and the fourth together with the flip.
    assert (await owner.mode()).version == 6


async def test_next_attempt_resumes_after_a_crash(owner: Owner) -> None:
    await owner.enable()
    with pytest.raises(RuntimeError):
        await handlers.enable(owner.dependencies, await owner.context(kind=Crashing))
    assert (await owner.mode()).interactions_written == 700
    assert await owner.counts() == (12, 700)
    again = await owner.context(attempt=2)
    await handlers.enable(owner.dependencies, again)
    assert await owner.stored() == await owner.asked_for()
    assert (await owner.mode()).state is State.ENABLED


async def test_attempt_with_a_lost_lease_stops_and_the_next_one_resumes(owner: Owner) -> None:
    await owner.enable()
    context = cast(Paused, await owner.context(kind=Paused))
    running = asyncio.create_task(handlers.enable(owner.dependencies, context))
    await context.stands.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await handlers.enable(owner.dependencies, await owner.context(attempt=2))
    assert await owner.stored() == await owner.asked_for()


async def test_superseded_attempt_cannot_write_after_a_newer_one_started(owner: Owner) -> None:
    await owner.enable()
    zombie, newer = [cast(Paused, await owner.context(attempt=n, kind=Paused)) for n in (1, 2)]
    newer.pauses_at = 1_400
    superseded = asyncio.create_task(handlers.enable(owner.dependencies, zombie))
    await zombie.stands.wait()
    newest = asyncio.create_task(handlers.enable(owner.dependencies, newer))
    await newer.stands.wait()
    before = await owner.mode(), await owner.counts()
    assert before[0].state is State.ENABLING
    zombie.go.set()
    with pytest.raises(worker.Cancelled) as excinfo:
        await superseded
    assert excinfo.value.reason == "superseded"
    assert (await owner.mode(), await owner.counts()) == before
    newer.go.set()
    await newest
    assert await owner.stored() == await owner.asked_for()


async def test_superseded_attempt_cannot_delete_after_a_newer_one_started(owner: Owner) -> None:
    await owner.enabled()
    await owner.disable()
    zombie, newer = [cast(Paused, await owner.context(attempt=n, kind=Paused)) for n in (1, 2)]
    newer.pauses_at = 1_400
    superseded = asyncio.create_task(handlers.disable(owner.dependencies, zombie))
    await zombie.stands.wait()
    newest = asyncio.create_task(handlers.disable(owner.dependencies, newer))
    await newer.stands.wait()
    before = await owner.mode(), await owner.counts()
    zombie.go.set()
    with pytest.raises(worker.Cancelled, match="superseded"):
        await superseded
    assert (await owner.mode(), await owner.counts()) == before
    newer.go.set()
    assert await newest == {"content_removed": 12, "interactions_removed": 2_500}


@pytest.mark.parametrize("phase", [JobPhase.FAILED, JobPhase.CANCELLED])
async def test_an_attempt_cannot_write_after_its_job_has_ended(owner: Owner, phase: JobPhase) -> None:
    await owner.enable()
    context = cast(Paused, await owner.context(kind=Paused))
    running = asyncio.create_task(handlers.enable(owner.dependencies, context))
    await context.stands.wait()
    await owner.settle(await owner.update(phase))
    before = await owner.mode(), await owner.counts()
    context.go.set()
    with pytest.raises(worker.Cancelled, match="superseded"):
        await running
    assert (await owner.mode(), await owner.counts()) == before


async def test_repeated_attempt_of_completed_work_does_nothing(owner: Owner) -> None:
    await owner.enabled()
    before = await owner.mode()
    result = await handlers.enable(owner.dependencies, await owner.context(attempt=2))
    assert result["interaction_count"] == 2_500
    assert await owner.mode() == dataclasses.replace(before, attempt=2)
    await owner.disable()
    first = await handlers.disable(owner.dependencies, await owner.context())
    assert await handlers.disable(owner.dependencies, await owner.context(attempt=2)) == first


async def test_a_retry_after_dismiss_is_superseded_and_changes_nothing(owner: Owner) -> None:
    await owner.enable()
    late = await owner.context(attempt=2)
    await owner.settle(await owner.update(JobPhase.FAILED))
    dismissed = await owner.demo.operations.dismiss(owner.owner_id)
    with pytest.raises(worker.Cancelled, match="superseded"):
        await handlers.enable(owner.dependencies, late)
    assert await owner.mode() == dismissed
    assert await owner.counts() == (0, 0)


async def test_retry_of_a_failed_enable_resumes_at_its_counters(owner: Owner) -> None:
    await owner.enable()
    with pytest.raises(RuntimeError):
        await handlers.enable(owner.dependencies, await owner.context(kind=Crashing))
    await owner.settle(await owner.update(JobPhase.FAILED))
    assert (await owner.mode()).interactions_written == 700
    await handlers.enable(owner.dependencies, await owner.context(attempt=2))
    assert await owner.stored() == await owner.asked_for()
    reasons = [reason for reason, _ in await owner.published_events()]
    assert reasons == ["enable_accepted", "job_failed", "enable_resumed", "enabled"]


async def test_cancelled_enable_leaves_no_rows_and_can_be_retried(owner: Owner) -> None:
    await owner.enable()
    with pytest.raises(worker.Cancelled) as excinfo:
        await handlers.enable(owner.dependencies, await owner.context(kind=Cancelling))
    assert excinfo.value.reason == "requested"
    mode = await owner.mode()
    assert mode.state is State.DISABLED
    assert (mode.content_written, mode.interactions_written) == (0, 0)
    assert await owner.counts() == (0, 0)
    assert (await owner.published_events())[-1] == ("enable_cancelled", mode.version)
    await handlers.enable(owner.dependencies, await owner.context(attempt=2))
    assert await owner.stored() == await owner.asked_for()


async def test_rows_beyond_the_counters_are_replaced(owner: Owner) -> None:
    # A cancel whose deletes were cut short, and then a retry: the rows are still there, the counters are not.
    await owner.enable()
    with pytest.raises(RuntimeError):
        await handlers.enable(owner.dependencies, await owner.context(kind=Crashing))
    await owner.settle(await owner.update(JobPhase.CANCELLED))
    assert await owner.counts() == (12, 700)
    await handlers.enable(owner.dependencies, await owner.context(attempt=2))
    assert await owner.stored() == await owner.asked_for()


async def test_enable_removes_the_rows_of_older_generations_first(owner: Owner) -> None:
    await owner.enable()
    with pytest.raises(RuntimeError):
        await handlers.enable(owner.dependencies, await owner.context(kind=Crashing))
    await owner.settle(await owner.update(JobPhase.FAILED))
    await owner.enable(content=4, interactions=9)
    await handlers.enable(owner.dependencies, await owner.context())
    assert await owner.stored() == await owner.asked_for()


async def test_disable_removes_everything_and_counts_it(owner: Owner) -> None:
    await owner.enabled()
    await owner.disable()
    result = await handlers.disable(owner.dependencies, await owner.context())
    assert result == {"content_removed": 12, "interactions_removed": 2_500}
    mode = await owner.mode()
    assert mode.state is State.DISABLED
    assert (mode.content_removed, mode.interactions_removed) == (12, 2_500)
    assert await owner.counts() == (0, 0)
    assert (await owner.published_events())[-1] == ("disabled", mode.version)


async def test_disable_continues_its_counts_after_a_crash(owner: Owner) -> None:
    await owner.enabled()
    await owner.disable()
    with pytest.raises(RuntimeError):
        await handlers.disable(owner.dependencies, await owner.context(kind=Crashing))
    assert (await owner.mode()).interactions_removed == 700
    result = await handlers.disable(owner.dependencies, await owner.context(attempt=2))
    assert result == {"content_removed": 12, "interactions_removed": 2_500}


async def test_a_small_enable_that_is_cancelled_while_it_writes_leaves_nothing(
    owner: Owner,
    engine: AsyncEngine,
    database_url: Callable[[str], str],
    eventually: Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]],
) -> None:
    await owner.enable(content=5, interactions=40)
    # The write waits as long as the test takes to see it.
    patient = postgres.engine(database_url("demo"), name="test-patient", lock_seconds=60.0)
    dependencies = dataclasses.replace(owner.dependencies, engine=patient)
    context = await owner.context()
    is_waiting = sa.text(
        "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted"
        " AND relation IN ('demo.content'::regclass, 'demo.interactions'::regclass))"
    )
    async with engine.begin() as conn:
        await conn.execute(sa.text("LOCK TABLE demo.content, demo.interactions IN SHARE MODE"))
        running = asyncio.create_task(handlers.enable(dependencies, context))

        async def writes() -> bool:
            return bool(await conn.scalar(is_waiting))

        await eventually(writes)
        context.cancelled.set()
    with pytest.raises(worker.Cancelled, match="requested"):
        await running
    await patient.dispose()
    assert await owner.counts() == (0, 0)
    await owner.settle(await owner.update(JobPhase.CANCELLED))
    assert (await owner.mode()).state is State.DISABLED


async def test_a_cancelled_disable_fails_and_can_be_retried(owner: Owner) -> None:
    await owner.enabled()
    await owner.disable()
    with pytest.raises(worker.Cancelled, match="requested"):
        await handlers.disable(owner.dependencies, await owner.context(kind=Cancelling))
    mode = await owner.mode()
    assert mode.state is State.FAILED
    assert mode.error
    assert mode.error.code == "cancelled"
    result = await handlers.disable(owner.dependencies, await owner.context(attempt=2))
    assert result == {"content_removed": 12, "interactions_removed": 2_500}
    assert (await owner.mode()).state is State.DISABLED


async def test_handlers_fail_when_configured(owner: Owner) -> None:
    failing = dataclasses.replace(owner.dependencies, failing=frozenset({"demo.enable"}))
    await owner.enable()
    with pytest.raises(worker.JobFailed) as excinfo:
        await handlers.enable(failing, await owner.context())
    assert (excinfo.value.code, excinfo.value.retryable) == ("demo_handler_failed", True)
    assert (await owner.mode()).state is State.ENABLING
    assert await owner.counts() == (0, 0)


async def test_an_owner_without_demo_mode_is_superseded(owner: Owner) -> None:
    await owner.enable()
    context = await owner.context()
    context.owner_id = "00000000-0000-4000-8000-000000000000"
    with pytest.raises(worker.Cancelled, match="superseded"):
        await handlers.enable(owner.dependencies, context)
