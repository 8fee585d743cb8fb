"""Limits of kinds: concurrency, rate and pause, with any number of concurrent claims."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from services.jobs import domain, outcomes, storage
from services.jobs.maintenance import Maintenance
from services.jobs.operations import Operations
from services.jobs.operators import change_log, kind_controls, overview
from tests.integration.jobs import jobs_helpers


@pytest.fixture
async def unlimited(jobs: Operations) -> AsyncIterator[None]:
    """Remove the limits for all kinds after a test."""
    yield
    await jobs_helpers.limit(jobs, "*")
    await kind_controls.KindControls(jobs).resume("*")


async def pass_time(engine: AsyncEngine, kind: str, seconds: float) -> None:
    """Move the time of a kind's rate tokens into the past."""
    statement = sa.text("UPDATE jobs.kinds SET tokens_at = tokens_at - make_interval(secs => :s) WHERE kind = :kind")
    async with engine.begin() as conn:
        await conn.execute(statement, {"s": seconds, "kind": kind})


async def test_concurrency_limit_holds_for_any_number_of_claims(
    jobs: Operations, replica: Operations, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    await jobs_helpers.limit(jobs, kind, max_running=3)
    count = 24
    await asyncio.gather(*(submit_job() for _ in range(count)))
    held, most, done = 0, 0, 0

    async def work(on: Operations) -> None:
        nonlocal held, most, done
        while done < count:
            claimed = await on.claim(worker="w1", kinds=[kind], limit=2)
            held += len(claimed)
            most = max(most, held)
            await asyncio.sleep(0)
            for job in claimed:
                # Before the finish: a released job may be claimed before its event.
                held, done = held - 1, done + 1
                await on.finish(job.job_id, 1, outcomes.Completed())

    async with asyncio.timeout(60):
        await asyncio.gather(*(work(on) for on in (jobs, replica, jobs, replica, jobs)))
    assert 1 <= most <= 3


async def test_concurrent_claims_share_the_remaining_capacity(
    jobs: Operations, replica: Operations, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    await jobs_helpers.limit(jobs, kind, max_running=4)
    for _ in range(6):
        await asyncio.gather(*(submit_job() for _ in range(10)))
        claims = await asyncio.gather(*(jobs_helpers.claim(on, kind, 2) for on in (jobs, replica, jobs, replica, jobs)))
        claimed = [job_id for batch in claims for job_id in batch]
        assert 2 <= len(claimed) <= 4
        assert len(await jobs.claim(worker="w1", kinds=[kind], limit=100)) == 4 - len(claimed)
        listed = await jobs.lists.page(
            owner_id=None, states=list(domain.HELD), kinds=[kind], parent_id=None, page_size=100, page_token=""
        )
        assert len(listed.jobs) == 4
        await jobs_helpers.complete(jobs, *(job.job_id for job in listed.jobs))


async def test_total_limit_bounds_all_kinds_together(
    jobs: Operations, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str, unlimited: None
) -> None:
    other = f"{kind}.other"
    for _ in range(3):
        await submit_job()
        await submit_job(kind=other)
    async with jobs_engine.connect() as conn:
        held = sum((await storage.count_held(conn)).values())  # by other tests
    await jobs_helpers.limit(jobs, "*", max_running=held + 4)
    claimed = await jobs.claim(worker="w1", kinds=[kind, other], limit=100)
    assert sorted(job.spec.kind for job in claimed) == [kind] * 2 + [other] * 2
    assert await jobs.claim(worker="w1", kinds=[kind, other], limit=100) == []


async def test_limited_kind_does_not_delay_other_kinds(
    jobs: Operations, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    other = f"{kind}.other"
    for _ in range(3):
        await submit_job(priority=9)
        await submit_job(kind=other)
    await jobs_helpers.limit(jobs, kind, max_running=1)
    claimed = await jobs.claim(worker="w1", kinds=[kind, other], limit=100)
    assert sorted(job.spec.kind for job in claimed) == [kind] + [other] * 3


async def test_replica_without_the_broadcast_keeps_a_limit(
    jobs: Operations, replica: Operations, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    assert await jobs_helpers.claim(replica, kind) == []
    await jobs_helpers.limit(jobs, kind, max_running=1)
    await submit_job()
    await submit_job()
    assert len(await jobs_helpers.claim(replica, kind)) <= 1
    replica.kinds.forget()
    await jobs_helpers.claim(replica, kind)
    listed = await jobs.lists.page(
        owner_id=None, states=list(domain.HELD), kinds=[kind], parent_id=None, page_size=100, page_token=""
    )
    assert len(listed.jobs) == 1


async def test_rate_bounds_the_starts_of_a_period(
    jobs: Operations, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    job_ids = [(await submit_job()).job_id for _ in range(12)]
    await jobs_helpers.limit(jobs, kind, rate_count=4, rate_period=timedelta(hours=1))
    assert await jobs_helpers.claim(jobs, kind) == job_ids[:4]
    assert await jobs_helpers.claim(jobs, kind) == []
    await pass_time(jobs_engine, kind, 60 * 14)
    assert await jobs_helpers.claim(jobs, kind) == []
    await pass_time(jobs_engine, kind, 60 * 2)
    assert await jobs_helpers.claim(jobs, kind) == job_ids[4:5]
    await pass_time(jobs_engine, kind, 3600 * 24)
    assert await jobs_helpers.claim(jobs, kind) == job_ids[5:9], "a burst is never more than the count"


async def test_rate_of_a_kind_outlives_a_clock_that_is_set_back(
    jobs: Operations, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    job_ids = [(await submit_job()).job_id for _ in range(6)]
    await jobs_helpers.limit(jobs, kind, rate_count=2, rate_period=timedelta(hours=1))
    assert await jobs_helpers.claim(jobs, kind) == job_ids[:2]
    await pass_time(jobs_engine, kind, -3600 * 24)
    assert await jobs_helpers.claim(jobs, kind) == job_ids[2:4]
    assert await jobs_helpers.claim(jobs, kind) == []
    # As a claim does that began after this change, and ends while this change waits for it.
    await pass_time(jobs_engine, kind, -5)
    await jobs_helpers.limit(jobs, kind, rate_count=4, rate_period=timedelta(hours=1))
    assert await jobs_helpers.claim(jobs, kind) == []


async def test_setting_a_rate_again_adds_no_burst(jobs: Operations, submit_job: jobs_helpers.Submit, kind: str) -> None:
    job_ids = [(await submit_job()).job_id for _ in range(9)]
    for _ in range(2):
        await jobs_helpers.limit(jobs, kind, rate_count=4, rate_period=timedelta(hours=1))
        await jobs_helpers.claim(jobs, kind)
    await jobs_helpers.limit(jobs, kind)
    assert await jobs_helpers.claim(jobs, kind) == job_ids[4:]


@pytest.mark.parametrize("paused", ["kind", "*"])
async def test_paused_kind_starts_no_job_and_running_ones_continue(
    jobs: Operations, submit_job: jobs_helpers.Submit, kind: str, unlimited: None, paused: str
) -> None:
    kind_limits, name = kind_controls.KindControls(jobs), kind if paused == "kind" else "*"
    running = await submit_job()
    await jobs_helpers.claim_one(jobs, kind)
    waiting = await submit_job()
    await kind_limits.pause(name)
    jobs.kinds.forget()
    assert await jobs_helpers.claim(jobs, kind) == []
    await jobs_helpers.complete(jobs, running.job_id)
    await kind_limits.resume(name)
    jobs.kinds.forget()
    assert await jobs_helpers.claim(jobs, kind) == [waiting.job_id]


async def test_limits_of_an_unregistered_kind_can_be_set(jobs: Operations) -> None:
    kind = f"demo.{uuid4().hex}"
    await jobs_helpers.limit(jobs, kind, max_running=2)
    assert (await jobs.kinds.get([kind]))[kind].is_limited


async def test_ranks_advance_past_a_locked_kind(
    jobs: Operations, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    """A claim locks the limits of several kinds in its order: waiting for them in another order could deadlock."""
    for _ in range(2):
        await submit_job()
    assert len(await jobs_helpers.claim(jobs, kind, 1)) == 1
    async with jobs_engine.begin() as conn:
        await conn.execute(sa.text("SELECT 1 FROM jobs.kinds WHERE kind = :kind FOR NO KEY UPDATE"), {"kind": kind})
        async with asyncio.timeout(60):
            await Maintenance(jobs).advance_fair_ranks()


async def test_changes_of_a_kind_are_recorded_with_their_admin_and_bounded(
    jobs: Operations, jobs_engine: AsyncEngine, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(change_log.KINDS, "max_count", 3)
    controls, engine_overview, admin_id = kind_controls.KindControls(jobs), overview.Overview(jobs_engine), uuid4()

    async def changes() -> list[tuple[str, str, UUID | None]]:
        return [(each.change, each.details, each.actor_id) for each in await engine_overview.list_changes(kind)]

    for _ in range(2):
        await controls.pause(kind, actor_id=admin_id)
    assert await changes() == [("paused", "", admin_id)]
    assert (await engine_overview.get_kind(kind))["paused_by"] == admin_id
    for _ in range(2):
        await controls.resume(kind)
    limits = kind_controls.Limits(kind=kind, max_running=5, rate_count=10, rate_period=timedelta(minutes=1))
    await controls.set_limits(limits, actor_id=admin_id)
    recorded = [("limited", "5 at once, 10 per 60 s", admin_id), ("resumed", "", None), ("paused", "", admin_id)]
    assert await changes() == recorded
    assert (await engine_overview.get_kind(kind))["paused_by"] is None
    # The previous release pauses without a record: the admin of an earlier pause is not named.
    pause = sa.text("UPDATE jobs.kinds SET paused_at = now() WHERE kind = :kind")
    async with jobs_engine.begin() as conn:
        await conn.execute(pause, {"kind": kind})
    assert (await engine_overview.get_kind(kind))["paused_by"] is None
    async with jobs_engine.begin() as conn:
        await conn.execute(sa.text("UPDATE jobs.kinds SET paused_at = NULL WHERE kind = :kind"), {"kind": kind})
    await controls.pause(kind)
    assert await changes() == [("paused", "", None), *recorded[:2]]
    async with jobs_engine.begin() as conn:
        await change_log.KINDS.forget_actor(conn, admin_id, limit=10)
        await conn.execute(
            sa.text(
                "UPDATE jobs.kind_changes SET changed_at = now() - interval '366 days' WHERE kind = :kind AND change = 'resumed'"
            ),
            {"kind": kind},
        )
        await change_log.delete_old_kind_changes(conn)
    assert await changes() == [("paused", "", None), ("limited", "5 at once, 10 per 60 s", None)]
