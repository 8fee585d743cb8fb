"""Expiry of demo mode: at the requested time, as by its owner, one owner independent of another."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

import worker
from chassis import errors
from lifecycle.machine import JobPhase
from services.demo import convert, declaration, domain, expiry, handlers, operations, schema, storage
from services.demo.domain import State
from tests.integration.demo.conftest import Demo, Owner
from worker import testing

MakeOwner = Callable[..., Owner]
DAY = timedelta(days=1)


async def enable(owner: Owner, expire_after: timedelta | None = DAY, key: str = "") -> operations.Accepted:
    return await owner.demo.operations.enable(
        owner.owner_id,
        profile_type="creator",
        niche="food",
        content_count=2,
        interaction_count=5,
        expire_after=expire_after,
        key=key,
    )


async def enabled(owner: Owner, expire_after: timedelta | None = DAY) -> domain.Mode:
    await enable(owner, expire_after)
    await handlers.enable(owner.dependencies, await owner.context())
    return await owner.mode()


async def make_due(owner: Owner, ago: timedelta = timedelta()) -> None:
    statement = sa.update(schema.demo_modes).where(schema.demo_modes.c.owner_id == owner.owner_id)
    async with owner.engine.begin() as conn:
        await conn.execute(statement.values(expires_at=sa.func.now() - ago))


async def expire(owner: Owner, demo: Demo | None = None, **arguments: Any) -> dict[str, int]:
    return await expiry.Expiry(owner.engine, (demo or owner.demo).operations, **arguments).expire(
        testing.RecordingContext()
    )


async def test_expiry_counts_from_the_end_of_the_enable(owner: Owner) -> None:
    await enable(owner)
    moving = await owner.mode()
    assert (moving.state, moving.expires_at) == (State.ENABLING, None)
    assert moving.options is not None and moving.options.expire_after == DAY
    await handlers.enable(owner.dependencies, await owner.context())
    mode = await owner.mode()
    assert mode.enabled_at is not None
    assert mode.expires_at == mode.enabled_at + DAY
    assert convert.demo_to_proto(mode).expire_time.ToDatetime(UTC) == mode.expires_at


async def test_without_expire_after_it_never_expires(owner: Owner) -> None:
    mode = await enabled(owner, None)
    assert mode.expires_at is None
    assert not convert.demo_to_proto(mode).HasField("expire_time")


async def test_expired_demo_mode_is_disabled_as_by_its_owner(owner: Owner, make_owner: MakeOwner) -> None:
    other = make_owner()
    await enabled(owner)
    await enabled(other)
    await make_due(owner)
    assert (await expire(owner))["expired"] >= 1
    mode = await owner.mode()
    assert (mode.state, mode.generation, mode.expires_at) == (State.DISABLING, 2, None)
    assert (await owner.published_events())[-1] == ("disable_accepted", mode.version)
    assert declaration.submit(mode) in await owner.kept_submits()
    assert (await other.mode()).state is State.ENABLED
    await handlers.disable(owner.dependencies, await owner.context())
    assert await owner.counts() == (0, 0)
    # The next one is enabled for as long as is asked then.
    assert (await enabled(owner, None)).expires_at is None


async def test_expiring_again_changes_nothing(owner: Owner) -> None:
    await enabled(owner)
    await make_due(owner)
    await expire(owner)
    before = await owner.mode()
    await expire(owner)
    assert await owner.mode() == before


async def test_concurrent_disable_by_the_owner_wins(owner: Owner) -> None:
    await enabled(owner)
    await make_due(owner)
    await owner.disable()
    assert await owner.demo.operations.expire(owner.owner_id) is False
    await handlers.disable(owner.dependencies, await owner.context())
    # Enabled again between the read and the disable: its time has not come.
    again = await enabled(owner, None)
    assert await owner.demo.operations.expire(owner.owner_id) is False
    assert await owner.mode() == again


async def test_all_batches_expire_oldest_first(make_owner: MakeOwner) -> None:
    owners = [make_owner() for _ in range(5)]
    for position, owner in enumerate(owners):
        await enabled(owner)
        # Two of one time, which a batch may cut apart.
        await make_due(owner, timedelta(hours=10 - position // 2))
    assert (await expire(owners[0], batch_size=2))["expired"] >= 5
    assert {(await owner.mode()).state for owner in owners} == {State.DISABLING}


async def test_failing_owner_does_not_stop_the_others(make_owner: MakeOwner) -> None:
    broken, healthy = make_owner(), make_owner()
    for owner, ago in ((broken, timedelta(hours=2)), (healthy, timedelta(hours=1))):
        await enabled(owner)
        await make_due(owner, ago)
    async with broken.engine.begin() as conn:
        # A transaction that locks the row for too long makes the disable fail.
        row = sa.select(schema.demo_modes).where(schema.demo_modes.c.owner_id == broken.owner_id)
        await conn.execute(row.with_for_update())
        with pytest.raises(worker.JobFailed) as excinfo:
            await expire(healthy, batch_size=1)
    assert (excinfo.value.code, excinfo.value.retryable) == ("expiry_incomplete", True)
    assert ((await broken.mode()).state, (await healthy.mode()).state) == (State.ENABLED, State.DISABLING)
    await expire(broken)
    assert (await broken.mode()).state is State.DISABLING


async def test_retry_of_the_job_keeps_the_expiry(owner: Owner) -> None:
    await enable(owner)
    await owner.settle(await owner.update(JobPhase.FAILED, attempt=1))
    assert (await owner.mode()).state is State.FAILED
    await handlers.enable(owner.dependencies, await owner.context(attempt=2))
    mode = await owner.mode()
    assert (mode.state, mode.expires_at is not None) == (State.ENABLED, True)


async def test_idempotency_key_covers_the_expiry(owner: Owner) -> None:
    first = await enable(owner, DAY, key="k")
    again = await enable(owner, DAY, key="k")
    assert (again.job_id, again.is_replayed) == (first.job_id, True)
    with pytest.raises(errors.AlreadyExists) as excinfo:
        await enable(owner, 2 * DAY, key="k")
    assert excinfo.value.code == "idempotency_key_reused"


@pytest.mark.parametrize(
    "expire_after",
    [
        timedelta(minutes=9, seconds=59),
        timedelta(days=90, seconds=1),
        timedelta(hours=-1),
        timedelta(hours=1, microseconds=1),
    ],
)
async def test_expiry_out_of_bounds_is_refused(owner: Owner, expire_after: timedelta) -> None:
    with pytest.raises(errors.InvalidArgument) as excinfo:
        await enable(owner, expire_after)
    assert excinfo.value.field == "expire_after"
    assert (await owner.mode()).state is State.DISABLED


@pytest.mark.parametrize("expire_after", [timedelta(minutes=10), timedelta(days=90)])
async def test_expiry_at_the_bounds_is_accepted(owner: Owner, expire_after: timedelta) -> None:
    assert (await enable(owner, expire_after)).mode.state is State.ENABLING


@pytest.mark.parametrize(
    ("values", "constraint"),
    [
        ({"expires_at": None}, "demo_modes_expires_iff_enabled_with_expiry"),
        ({"expire_after": None}, "demo_modes_expires_iff_enabled_with_expiry"),
        ({"expire_after": timedelta(minutes=1)}, "demo_modes_expire_after_in_bounds"),
    ],
)
async def test_database_refuses_an_invalid_expiry(owner: Owner, values: dict[str, Any], constraint: str) -> None:
    await enabled(owner)
    statement = sa.update(schema.demo_modes).where(schema.demo_modes.c.owner_id == owner.owner_id).values(**values)
    with pytest.raises(IntegrityError, match=constraint):
        async with owner.engine.begin() as conn:
            await conn.execute(statement)


async def test_search_for_expired_demo_modes_scans_no_table(engine: AsyncEngine) -> None:
    arguments = {"after_time": datetime(1970, 1, 1, tzinfo=UTC), "after_owner": UUID(int=0), "limit": 100}
    async with engine.connect() as conn:
        await conn.execute(sa.text("SET LOCAL enable_seqscan = off"))
        text = str(storage._EXPIRED.compile(dialect=conn.dialect, compile_kwargs={"literal_binds": False}))
        plan = "\n".join((await conn.exec_driver_sql(f"EXPLAIN {text}", arguments)).scalars())
    assert "demo_modes_expiring" in plan
    assert "Seq Scan" not in plan
