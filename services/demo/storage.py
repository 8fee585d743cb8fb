"""Rows of demo modes and idempotency keys: one function per query. A state changes by guarded updates only."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import dml

from chassis.prepared import Prepared
from lifecycle.rows import Rows, reader
from services.demo import domain
from services.demo.domain import Action, DemoOptions, JobKind, Mode, State
from services.demo.schema import demo_modes, idempotency_keys

_now = sa.func.now()

NO_COUNTS = {"content_written": 0, "interactions_written": 0, "content_removed": 0, "interactions_removed": 0}
_NOT_ENABLED = {"enabled_at": None, "expires_at": None}
_CHANGES: Mapping[Action, Mapping[str, Any]] = {
    Action.ENABLE: {"job_kind": JobKind.ENABLE, "seeded_at": _now, **NO_COUNTS},
    Action.DISABLE: {"job_kind": JobKind.DISABLE, **_NOT_ENABLED},
    Action.DISMISS: NO_COUNTS,
    # Null plus an interval is null: without `expire_after` it never expires.
    Action.COMPLETE_ENABLE: {
        "enabled_at": _now,
        "expires_at": _now + demo_modes.c.expire_after,
        "content_written": demo_modes.c.content_count,
        "interactions_written": demo_modes.c.interaction_count,
    },
    Action.CANCEL_ENABLE: {**_NOT_ENABLED, **NO_COUNTS},
    Action.FAIL: _NOT_ENABLED,
}


_OPTIONS = tuple(field.name for field in dataclasses.fields(DemoOptions))
_mode = reader(
    Mode,
    state=lambda row: State(row["state"]),
    job_kind=lambda row: JobKind(row["job_kind"]) if row["job_kind"] else None,
    options=lambda row: None if row["seed"] is None else DemoOptions(**{name: row[name] for name in _OPTIONS}),
)
MODES = Rows(domain.MACHINE, demo_modes, read=_mode, absent=lambda owner_id: Mode(owner_id=owner_id), changes=_CHANGES)

COMPLETE_SMALL_ENABLE = Prepared(
    MODES.begin_with_transition_statement(Action.COMPLETE_ENABLE).where(
        demo_modes.c.content_count + demo_modes.c.interaction_count <= sa.bindparam("most_rows")
    )
)
"""Begins an attempt by its end, if the data set has at most :most_rows rows."""
_EXPIRE = Prepared(
    MODES.move_statement(Action.DISABLE, frozenset({"job_id"}), is_guarded=False).where(demo_modes.c.expires_at <= _now)
)
_EXPIRED = (
    sa.select(demo_modes.c.expires_at, demo_modes.c.owner_id)
    .where(
        demo_modes.c.expires_at <= _now,
        sa.tuple_(demo_modes.c.expires_at, demo_modes.c.owner_id)
        > sa.tuple_(
            sa.bindparam("after_time", type_=demo_modes.c.expires_at.type), sa.bindparam("after_owner", type_=sa.Uuid)
        ),
    )
    .order_by(demo_modes.c.expires_at, demo_modes.c.owner_id)
    .limit(sa.bindparam("limit"))
)


async def get_mode(conn: AsyncConnection, owner_id: UUID, *, lock: bool = False) -> Mode:
    """Read an owner's demo mode, disabled if there is no row; with `lock`, no other transaction can change it."""
    return await MODES.get(conn, (owner_id,), lock=lock)


async def get_modes(conn: AsyncConnection, owner_ids: Collection[UUID]) -> dict[UUID, Mode]:
    """Read the demo modes of several owners."""
    rows = (await conn.execute(sa.select(demo_modes).where(demo_modes.c.owner_id.in_(owner_ids)))).mappings()
    return {owner_id: Mode(owner_id=owner_id) for owner_id in owner_ids} | {row["owner_id"]: _mode(row) for row in rows}


async def lock_free_mode(conn: AsyncConnection, owner_id: UUID) -> Mode | None:
    """Read and lock an owner's demo mode; None if it is locked already. Inserts the row, to have one to lock."""
    await conn.execute(postgresql.insert(demo_modes).values(owner_id=owner_id).on_conflict_do_nothing())
    statement = sa.select(demo_modes).where(demo_modes.c.owner_id == owner_id).with_for_update(skip_locked=True)
    row = (await conn.execute(statement)).mappings().first()
    return _mode(row) if row else None


async def delete_unused_mode(conn: AsyncConnection, owner_id: UUID) -> None:
    """Delete the row of an owner without a generation, which only `lock_free_mode` inserts."""
    await conn.execute(sa.delete(demo_modes).where(demo_modes.c.owner_id == owner_id, demo_modes.c.generation == 0))


async def expire(conn: AsyncConnection, owner_id: UUID, job_id: UUID) -> Mode | None:
    """Begin a generation that disables; None if the demo mode is not enabled, or has not expired."""
    return await MODES.execute(conn, _EXPIRE, (owner_id,), {"new_job_id": job_id})


async def list_expired(
    conn: AsyncConnection, *, after: tuple[datetime, UUID], limit: int
) -> list[tuple[datetime, UUID]]:
    """List the demo modes that have expired, as (time, owner), in that order, from the position `after` on."""
    parameters = {"after_time": after[0], "after_owner": after[1], "limit": limit}
    return [(row.expires_at, row.owner_id) for row in await conn.execute(_EXPIRED, parameters)]


def key_parameters(
    owner_id: UUID, key: str, *, request_hash: bytes, job_id: UUID, lifetime: timedelta
) -> dict[str, Any]:
    """Return the parameters that bind an idempotency key to a request."""
    return {"owner": owner_id, "new_key": key, "hash": request_hash, "job": job_id, "lifetime": lifetime}


async def bind_key(
    conn: AsyncConnection, owner_id: UUID, key: str, *, request_hash: bytes, job_id: UUID, lifetime: timedelta
) -> tuple[bytes, UUID]:
    """Bind an idempotency key to this request unless it is bound already; return the hash and the job it is bound to.

    A second call with the same key waits here until the transaction of the first has ended.
    """
    parameters = key_parameters(owner_id, key, request_hash=request_hash, job_id=job_id, lifetime=lifetime)
    rows = await _BIND_KEY.execute(conn, parameters)
    if not rows:
        rows = await _BOUND_KEY.execute(conn, {"owner": owner_id, "new_key": key})
    request_hash_bound, bound_job = rows[0]
    return bytes(request_hash_bound), bound_job


async def delete_old_keys(conn: AsyncConnection, *, age: timedelta, limit: int) -> int:
    """Delete up to `limit` idempotency keys older than `age`; return how many."""
    key = sa.tuple_(idempotency_keys.c.owner_id, idempotency_keys.c.key)
    old = sa.select(idempotency_keys.c.owner_id, idempotency_keys.c.key).where(
        idempotency_keys.c.created_at < _now - age
    )
    old = old.limit(limit).with_for_update(skip_locked=True)
    return (await conn.execute(sa.delete(idempotency_keys).where(key.in_(old)))).rowcount


def _bind_key_statement() -> dml.ReturningInsert[Any]:
    bound = {
        "request_hash": sa.bindparam("hash", type_=sa.LargeBinary),
        "job_id": sa.bindparam("job", type_=sa.Uuid),
        "created_at": _now,
    }
    insert = postgresql.insert(idempotency_keys).values(
        owner_id=sa.bindparam("owner"), key=sa.bindparam("new_key"), **bound
    )
    is_over = idempotency_keys.c.created_at < _now - sa.bindparam("lifetime", type_=sa.Interval)
    key = [idempotency_keys.c.owner_id, idempotency_keys.c.key]
    upsert = insert.on_conflict_do_update(index_elements=key, set_=bound, where=is_over)
    return upsert.returning(idempotency_keys.c.request_hash, idempotency_keys.c.job_id)


KEY_BOUND = _bind_key_statement().cte("key_bound")
"""The idempotency key, if it is bound to this request now. Its parameters are those of `key_parameters`."""
_BIND_KEY = Prepared(_bind_key_statement())
_BOUND_KEY = Prepared(
    sa.select(idempotency_keys.c.request_hash, idempotency_keys.c.job_id).where(
        idempotency_keys.c.owner_id == sa.bindparam("owner"), idempotency_keys.c.key == sa.bindparam("new_key")
    )
)
