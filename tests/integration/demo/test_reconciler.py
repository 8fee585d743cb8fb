"""Maintenance: lost ends are settled, unsubmitted jobs submitted, orphaned rows deleted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from lifecycle import settler, unsuccessful_jobs
from lifecycle.machine import JobPhase
from services.demo import handlers, reconciler, schema, storage
from services.demo.domain import State
from tests.integration.demo.conftest import Crashing, Demo, Owner
from worker import JobsClient

Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]


@pytest.fixture
def loops(engine: AsyncEngine) -> reconciler.Reconciler:
    """The reconciler."""
    return reconciler.Reconciler(engine)


async def clean(loops: reconciler.Reconciler) -> None:
    """Walk through all owners once."""
    await loops.delete_orphaned_rows()


async def test_lost_end_of_a_job_is_settled_by_the_unsuccessful_jobs(
    make_owner: Callable[..., Owner],
    demo_with_jobs: Demo,
    cancel_job: Callable[[UUID], Awaitable[None]],
    jobs: JobsClient,
) -> None:
    owner = make_owner(demo=demo_with_jobs)
    await cancel_job((await owner.enable()).job_id)
    await unsuccessful_jobs.UnsuccessfulJobs(jobs, demo_with_jobs.settler).settle()
    assert (await owner.mode()).state is State.DISABLED


async def test_a_job_that_was_never_submitted_is_submitted(
    owner: Owner, demo_with_jobs: Demo, jobs: JobsClient, engine: AsyncEngine, eventually: Eventually
) -> None:
    accepted = await owner.enable()
    async with engine.begin() as conn:
        await conn.execute(sa.delete(schema.outbox))  # as if it had been lost

    async def submitted() -> bool:
        await demo_with_jobs.settler.sweep(age=timedelta())
        return await jobs.get(str(accepted.job_id)) is not None

    await eventually(submitted)
    assert (await owner.mode()).state is State.ENABLING


async def test_one_sweep_settles_what_an_outage_has_left(
    make_owner: Callable[..., Owner], demo_with_jobs: Demo, cancel_job: Callable[[UUID], Awaitable[None]]
) -> None:
    owners = [make_owner(demo=demo_with_jobs) for _ in range(2 * settler.BATCH + 1)]
    for owner in owners:
        await cancel_job((await owner.enable()).job_id)
    await demo_with_jobs.settler.sweep(age=timedelta())
    assert {(await owner.mode()).state for owner in owners} == {State.DISABLED}


async def test_a_jobs_service_that_is_down_changes_nothing(owner: Owner) -> None:
    accepted = await owner.enable()
    await owner.demo.settler.sweep(age=timedelta())
    assert await owner.mode() == accepted.mode


async def test_maintenance_keeps_rows_of_current_generations(owner: Owner, loops: reconciler.Reconciler) -> None:
    await owner.enable()
    with pytest.raises(RuntimeError):
        await handlers.enable(owner.dependencies, await owner.context(kind=Crashing))
    await clean(loops)
    assert await owner.counts() == (12, 700)
    await owner.settle(await owner.update(JobPhase.FAILED))
    await clean(loops)
    assert await owner.counts() == (12, 700)
    await handlers.enable(owner.dependencies, await owner.context(attempt=2))
    await clean(loops)
    assert await owner.counts() == (12, 2_500)
    await owner.disable()
    await clean(loops)
    assert await owner.counts() == (12, 2_500)


async def test_maintenance_deletes_what_a_cancelled_enable_left(owner: Owner, loops: reconciler.Reconciler) -> None:
    await owner.enable()
    with pytest.raises(RuntimeError):
        await handlers.enable(owner.dependencies, await owner.context(kind=Crashing))
    await owner.settle(await owner.update(JobPhase.CANCELLED))
    await clean(loops)
    assert await owner.counts() == (0, 0)


async def test_maintenance_deletes_rows_of_an_enable_that_was_cancelled_after_its_last_write(
    owner: Owner, loops: reconciler.Reconciler
) -> None:
    await owner.enabled()
    await owner.settle(await owner.update(JobPhase.CANCELLED))
    await clean(loops)
    assert await owner.counts() == (0, 0)


async def test_maintenance_deletes_dismissed_rows(owner: Owner, loops: reconciler.Reconciler) -> None:
    await owner.enabled()
    await owner.disable()
    with pytest.raises(RuntimeError):
        await handlers.disable(owner.dependencies, await owner.context(kind=Crashing))
    await owner.settle(await owner.update(JobPhase.FAILED))
    await clean(loops)
    assert await owner.counts() == (12, 1_800)
    await owner.demo.operations.dismiss(owner.owner_id)
    await clean(loops)
    assert await owner.counts() == (0, 0)


async def test_maintenance_deletes_older_generations_only(owner: Owner, loops: reconciler.Reconciler) -> None:
    await owner.enabled()
    await owner.write_strays(generation=0)
    await clean(loops)
    assert await owner.stored() == await owner.asked_for()


async def test_maintenance_skips_a_locked_owner(
    owner: Owner, loops: reconciler.Reconciler, engine: AsyncEngine
) -> None:
    await owner.enabled(interactions=0)
    await owner.write_strays(generation=0)
    async with engine.begin() as conn:
        own_row = sa.select(schema.demo_modes.c.owner_id).where(schema.demo_modes.c.owner_id == owner.owner_id)
        await conn.execute(own_row.with_for_update())
        await clean(loops)
        assert await owner.counts() == (17, 0)
    await clean(loops)
    assert await owner.counts() == (12, 0)


async def test_maintenance_walks_through_all_owners_in_steps(
    make_owner: Callable[..., Owner], loops: reconciler.Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    owners = [make_owner() for _ in range(5)]
    for owner in owners:
        await owner.enabled(content=2, interactions=0)
        await owner.write_strays(generation=0, content=1)
    await clean(loops)
    for owner in owners:
        await owner.write_strays(generation=0, content=1)
    monkeypatch.setattr(reconciler, "WALK_BATCH", 3)
    removed = 0
    while removed < 5:
        removed += await loops.delete_orphaned_rows()
    assert removed == 5
    assert [await owner.counts() for owner in owners] == [(2, 0)] * 5


async def test_maintenance_leaves_no_row_of_an_owner_without_demo_mode(
    loops: reconciler.Reconciler, engine: AsyncEngine
) -> None:
    owner_id = uuid4()
    insert = """
        INSERT INTO demo.content (owner_id, generation, position, platform, title, published_at, views, likes)
        VALUES (:owner, 1, 0, 'youtube', 'An orphan', now(), 0, 0)
    """
    async with engine.begin() as conn:
        await conn.execute(sa.text(insert), {"owner": owner_id})
    await clean(loops)
    async with engine.connect() as conn:
        for table in ("content", "demo_modes"):
            count = await conn.scalar(
                sa.text(f"SELECT count(*) FROM demo.{table} WHERE owner_id = :o"), {"o": owner_id}
            )
            assert count == 0, table


async def test_old_keys_are_deleted(
    owner: Owner, loops: reconciler.Reconciler, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciler, "KEYS_BATCH", 1)
    await owner.enable(key="old")
    await owner.settle(await owner.update(JobPhase.FAILED))
    await owner.enable(key="young")
    keys = schema.idempotency_keys
    async with engine.begin() as conn:
        of_owner = sa.update(keys).where(keys.c.owner_id == owner.owner_id, keys.c.key == "old")
        await conn.execute(of_owner.values(created_at=sa.text("now() - interval '25 h'")))
        more = sa.select(keys).where(keys.c.owner_id == owner.owner_id, keys.c.key == "old").cte("old")
        copied = {column.name: more.c[column.name] for column in keys.c} | {"key": sa.literal("older")}
        await conn.execute(sa.insert(keys).from_select(list(copied), sa.select(*copied.values())))
    assert await loops.delete_old_keys() >= 2
    async with engine.connect() as conn:
        left = (await conn.execute(sa.select(keys.c.key).where(keys.c.owner_id == owner.owner_id))).scalars().all()
        assert list(left) == ["young"]


async def is_alive(engine: AsyncEngine, connection: psycopg.AsyncConnection[Any]) -> bool:
    """Return whether the server still has the session of a connection."""
    async with engine.connect() as conn:
        statement = sa.text("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = :pid)")
        return bool(await conn.scalar(statement, {"pid": connection.info.backend_pid}))


async def test_silent_writer_does_not_block_an_owner(
    make_owner: Callable[..., Owner],
    engine: AsyncEngine,
    loops: reconciler.Reconciler,
    database_url: Callable[[str], str],
    eventually: Eventually,
) -> None:
    """Simulates a worker paused in the middle of a COPY with the owner's row locked."""
    owner = make_owner()
    await owner.enable()
    async with await psycopg.AsyncConnection.connect(database_url("demo")) as silent:
        await silent.execute("SELECT FROM demo.demo_modes WHERE owner_id = %s FOR UPDATE", [owner.owner_id])
        with pytest.raises(psycopg.OperationalError):
            async with silent.cursor() as cursor, cursor.copy("COPY demo.content FROM STDIN") as copy:

                async def has_ended() -> bool:
                    await loops.end_stalled_transactions(age=timedelta(seconds=0.1))
                    return not await is_alive(engine, silent)

                await eventually(has_ended)
                async with engine.begin() as conn:
                    assert (await storage.get_mode(conn, owner.owner_id, lock=True)).state is State.ENABLING
                for _ in range(1_000):
                    await copy.write(b"x" * 10_000)


async def test_slow_writer_is_not_ended_while_its_rows_arrive(
    loops: reconciler.Reconciler, engine: AsyncEngine, database_url: Callable[[str], str], eventually: Eventually
) -> None:
    size = 0

    async def has_arrived() -> bool:
        nonlocal size
        async with engine.connect() as conn:
            statement = sa.text("SELECT max(bytes_processed) FROM pg_stat_progress_copy WHERE pid = :pid")
            before, size = size, (await conn.execute(statement, {"pid": slow.info.backend_pid})).scalar_one() or 0
        return bool(size > before)

    async with await psycopg.AsyncConnection.connect(database_url("demo")) as slow:
        with pytest.raises(psycopg.OperationalError):
            async with slow.cursor() as cursor, cursor.copy("COPY demo.content FROM STDIN") as copy:
                for _ in range(5):
                    await copy.write(b"x" * 200_000)
                    await eventually(has_arrived)
                    await loops.end_stalled_transactions(age=timedelta())  # may end sessions of others
                    assert await is_alive(engine, slow)
                    await has_arrived()

                async def has_ended() -> bool:
                    await loops.end_stalled_transactions(age=timedelta())
                    return not await is_alive(engine, slow)

                await eventually(has_ended)
                for _ in range(1_000):
                    await copy.write(b"x" * 10_000)
