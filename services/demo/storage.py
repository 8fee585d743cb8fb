"""Rows of demo modes and idempotency keys: one function a query. A state changes by guarded updates only."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from services.demo import domain, statements
from services.demo.domain import Action, Fence, JobKind, Mode, State
from services.demo.schema import demo_modes, idempotency_keys, inbox

_now = sa.func.now()


async def insert_mode(conn: AsyncConnection, owner_id: UUID) -> None:
    """Make the row of an owner who never used demo mode; nothing if it is there."""
    await conn.execute(postgresql.insert(demo_modes).values(owner_id=owner_id).on_conflict_do_nothing())


async def get_mode(conn: AsyncConnection, owner_id: UUID, *, lock: bool = False) -> Mode:
    """Read an owner's demo mode, disabled if there is no row; with `lock` nobody changes it before the transaction ends."""
    row = (
        (await conn.execute(statements.LOCK_MODE if lock else statements.GET_MODE, {"owner": owner_id}))
        .mappings()
        .first()
    )
    return _mode(row) if row else Mode(owner_id=owner_id)


async def get_modes(conn: AsyncConnection, owner_ids: Collection[UUID]) -> dict[UUID, Mode]:
    """Read the demo modes of several owners."""
    found = (await conn.execute(sa.select(demo_modes).where(demo_modes.c.owner_id.in_(owner_ids)))).mappings()
    return {owner_id: Mode(owner_id=owner_id) for owner_id in owner_ids} | {
        row["owner_id"]: _mode(row) for row in found
    }


async def lock_free_mode(conn: AsyncConnection, owner_id: UUID) -> Mode | None:
    """Read and lock an owner's demo mode; None if somebody else has locked it. Makes the row, to have what to lock."""
    await insert_mode(conn, owner_id)
    statement = sa.select(demo_modes).where(demo_modes.c.owner_id == owner_id).with_for_update(skip_locked=True)
    row = (await conn.execute(statement)).mappings().first()
    return _mode(row) if row else None


async def accept_enable(conn: AsyncConnection, owner_id: UUID, job_id: UUID, wish: domain.Wish) -> Mode | None:
    """Begin a generation that enables; None if the state forbids it."""
    given = {
        "owner": owner_id,
        "job": job_id,
        "profile_type": wish.profile_type,
        "niche": wish.niche,
        "content_count": wish.content_count,
        "interaction_count": wish.interaction_count,
        "seed": wish.seed,
        "expire_after": wish.expire_after,
    }
    return _mode_or_none((await conn.execute(statements.ACCEPT_ENABLE, given)).mappings().first())


async def accept_disable(conn: AsyncConnection, owner_id: UUID, job_id: UUID) -> Mode | None:
    """Begin a generation that disables; None if the state forbids it."""
    return await _move(conn, owner_id, Action.DISABLE, {"job_id": job_id})


async def accept_expire(conn: AsyncConnection, owner_id: UUID, job_id: UUID) -> Mode | None:
    """Begin a generation that disables; None if the state forbids it, or the time of this demo mode has not come."""
    given = {"owner": owner_id, "new_job_id": job_id}
    return _mode_or_none((await conn.execute(statements.EXPIRE, given)).mappings().first())


async def expired(conn: AsyncConnection, *, after: tuple[datetime, UUID], limit: int) -> list[tuple[datetime, UUID]]:
    """Give when the next demo modes had to be disabled, and whose they are, in that order; those that come after a place."""
    given = {"after_time": after[0], "after_owner": after[1], "limit": limit}
    return [(row.expires_at, row.owner_id) for row in await conn.execute(statements.EXPIRED, given)]


async def dismiss(conn: AsyncConnection, owner_id: UUID) -> Mode | None:
    """Leave a failure behind; None if there is none. The new generation makes a late retry of its job superseded."""
    return await _move(conn, owner_id, Action.DISMISS, {})


async def close(
    conn: AsyncConnection,
    mode: Mode,
    action: Action,
    *,
    error: domain.Error | None = None,
    attempt: int | None = None,
    job_version: int | None = None,
    counted: Mapping[str, int] | None = None,
) -> Mode | None:
    """End or resume the transition of the mode's present generation by `action`; None if the state forbids it by now.

    `attempt` is the attempt that ended, `job_version` the snapshot of the job that said so; `counted` are counters that
    change with the state.
    """
    columns: dict[str, Any] = {
        **(counted or {}),
        "error_code": error.code if error else None,
        "error_message": error.message if error else None,
    }
    if attempt is not None:
        columns["attempt"] = attempt
    if job_version is not None:
        columns["job_version"] = job_version
    return await _move(conn, mode.owner_id, action, columns, of_job=(mode.generation, mode.job_id))


async def note_job(conn: AsyncConnection, owner_id: UUID, job_version: int) -> None:
    """Remember that a snapshot of the job changed nothing, so that no older one changes something."""
    await conn.execute(sa.update(demo_modes).where(demo_modes.c.owner_id == owner_id).values(job_version=job_version))


async def begin_attempt(conn: AsyncConnection, fence: Fence) -> None:
    """Close the door behind lower attempts: from now on they can write nothing."""
    await conn.execute(statements.BEGIN_ATTEMPT, {"owner": fence.owner_id, "begun": fence.attempt})


async def hold(conn: AsyncConnection, fence: Fence, state: State) -> Mode | None:
    """Lock the owner's row for a write of this attempt; None if the attempt may not write (any more)."""
    given = {
        "owner": fence.owner_id,
        "job": fence.job_id,
        "generation": fence.generation,
        "attempt": fence.attempt,
        "state": state,
    }
    return _mode_or_none((await conn.execute(statements.HOLD_MODE, given)).mappings().first())


async def count(conn: AsyncConnection, owner_id: UUID, counted: Mapping[str, int]) -> Mode:
    """Set counters of a row that `hold` has locked, in the transaction that writes or removes what they count."""
    given = {f"new_{name}": value for name, value in counted.items()} | {"owner": owner_id}
    return _mode((await conn.execute(statements.count(frozenset(counted)), given)).mappings().one())


async def count_nothing(conn: AsyncConnection, owner_id: UUID) -> None:
    """Set the counters of a row that `hold` has locked back to the beginning."""
    await count(conn, owner_id, statements.NOTHING_WRITTEN)


async def take_stale_transitions(conn: AsyncConnection, *, age: timedelta, limit: int) -> list[Mode]:
    """Give demo modes that have been moving for longer than `age`, each at most once per `age` over all replicas."""
    stale = (
        sa.select(demo_modes.c.owner_id)
        .where(
            demo_modes.c.state.in_(sorted(domain.TRANSITIONAL)),
            demo_modes.c.changed_at < _now - age,
            sa.or_(demo_modes.c.checked_at.is_(None), demo_modes.c.checked_at < _now - age),
        )
        .order_by(demo_modes.c.checked_at.nulls_first())
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    statement = (
        sa.update(demo_modes)
        .where(demo_modes.c.owner_id.in_(stale.scalar_subquery()))
        .values(checked_at=_now)
        .returning(demo_modes)
    )
    return [_mode(row) for row in (await conn.execute(statement)).mappings()]


async def claim_key(
    conn: AsyncConnection, owner_id: UUID, key: str, *, request_hash: bytes, job_id: UUID, lifetime: timedelta
) -> tuple[bytes, UUID]:
    """Bind an idempotency key to this request, unless it is bound already; gives what it is bound to.

    A second call with the same key waits here until the transaction of the first has ended.
    """
    given = {"owner": owner_id, "given_key": key, "hash": request_hash, "job": job_id, "lifetime": lifetime}
    row = (await conn.execute(statements.CLAIM_KEY, given)).first()
    if row is None:
        bound = sa.select(idempotency_keys.c.request_hash, idempotency_keys.c.job_id)
        mine = (idempotency_keys.c.owner_id == owner_id, idempotency_keys.c.key == key)
        row = (await conn.execute(bound.where(*mine))).one()
    return bytes(row.request_hash), row.job_id


async def delete_expired(conn: AsyncConnection, *, keys: timedelta, received: timedelta, limit: int) -> int:
    """Delete idempotency keys and inbox rows older than given, up to `limit` of each; gives how many."""
    deleted = 0
    for table, made_at, age in (
        (idempotency_keys, idempotency_keys.c.created_at, keys),
        (inbox, inbox.c.received_at, received),
    ):
        old = sa.select(*table.primary_key.columns).where(made_at < _now - age).limit(limit)
        old = old.with_for_update(skip_locked=True)
        statement = sa.delete(table).where(sa.tuple_(*table.primary_key.columns).in_(old))
        deleted += (await conn.execute(statement)).rowcount
    return deleted


async def _move(
    conn: AsyncConnection,
    owner_id: UUID,
    action: Action,
    columns: Mapping[str, Any],
    *,
    of_job: tuple[int, UUID | None] | None = None,
) -> Mode | None:
    """Change the state by `action`, and `columns` with it; only for the generation and job `of_job`, if that is given."""
    statement = statements.move(action, frozenset(columns), is_guarded=of_job is not None)
    given = {f"new_{name}": value for name, value in columns.items()} | {"owner": owner_id}
    if of_job:
        given |= {"of_generation": of_job[0], "of_job": of_job[1]}
    return _mode_or_none((await conn.execute(statement, given)).mappings().first())


def _mode_or_none(row: Mapping[Any, Any] | None) -> Mode | None:
    return _mode(row) if row else None


def _mode(row: Mapping[Any, Any]) -> Mode:
    return Mode(
        owner_id=row["owner_id"],
        state=State(row["state"]),
        generation=row["generation"],
        version=row["version"],
        attempt=row["attempt"],
        job_id=row["job_id"],
        job_kind=JobKind(row["job_kind"]) if row["job_kind"] else None,
        job_version=row["job_version"],
        wish=_wish(row) if row["seed"] is not None else None,
        seeded_at=row["seeded_at"],
        content_written=row["content_written"],
        interactions_written=row["interactions_written"],
        content_removed=row["content_removed"],
        interactions_removed=row["interactions_removed"],
        error=domain.Error(code=row["error_code"], message=row["error_message"]) if row["error_code"] else None,
        enabled_at=row["enabled_at"],
        expires_at=row["expires_at"],
        changed_at=row["changed_at"],
    )


def _wish(row: Mapping[Any, Any]) -> domain.Wish:
    return domain.Wish(
        profile_type=row["profile_type"],
        niche=row["niche"],
        content_count=row["content_count"],
        interaction_count=row["interaction_count"],
        seed=row["seed"],
        expire_after=row["expire_after"],
    )
