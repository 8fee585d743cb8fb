"""Rows of demo modes and idempotency keys: one function a query. A state changes by guarded updates only."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from services.demo import domain
from services.demo.domain import Action, Fence, JobKind, Mode, State
from services.demo.schema import demo_modes, idempotency_keys, inbox

_now = sa.func.now()
NOTHING_WRITTEN = {"content_written": 0, "interactions_written": 0, "content_removed": 0, "interactions_removed": 0}
_NO_ERROR = {"error_code": None, "error_message": None}


async def insert_mode(conn: AsyncConnection, owner_id: UUID) -> None:
    """Make the row of an owner who never used demo mode; nothing if it is there."""
    await conn.execute(postgresql.insert(demo_modes).values(owner_id=owner_id).on_conflict_do_nothing())


async def get_mode(conn: AsyncConnection, owner_id: UUID, *, lock: bool = False) -> Mode:
    """Read an owner's demo mode, disabled if there is no row; with `lock` nobody changes it before the transaction ends."""
    statement = sa.select(demo_modes).where(demo_modes.c.owner_id == owner_id)
    if lock:
        statement = statement.with_for_update()
    row = (await conn.execute(statement)).mappings().first()
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
    columns = {
        "profile_type": wish.profile_type,
        "niche": wish.niche,
        "content_count": wish.content_count,
        "interaction_count": wish.interaction_count,
        "seed": wish.seed,
        "seeded_at": _now,
        **NOTHING_WRITTEN,
        **_NO_ERROR,
    }
    return await _move(conn, owner_id, Action.ENABLE, {**columns, **_new_job(job_id, JobKind.ENABLE)})


async def accept_disable(conn: AsyncConnection, owner_id: UUID, job_id: UUID) -> Mode | None:
    """Begin a generation that disables; None if the state forbids it."""
    columns = {**_new_job(job_id, JobKind.DISABLE), "enabled_at": None}
    return await _move(conn, owner_id, Action.DISABLE, columns)


async def dismiss(conn: AsyncConnection, owner_id: UUID) -> Mode | None:
    """Leave a failure behind; None if there is none. The new generation makes a late retry of its job superseded."""
    columns = {"generation": demo_modes.c.generation + 1, **NOTHING_WRITTEN, **_NO_ERROR}
    return await _move(conn, owner_id, Action.DISMISS, columns)


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
    if action is Action.COMPLETE_ENABLE:
        columns["enabled_at"] = _now
    if action is Action.CANCEL_ENABLE:
        columns |= NOTHING_WRITTEN
    if attempt is not None:
        columns["attempt"] = sa.func.greatest(demo_modes.c.attempt, attempt)
    if job_version is not None:
        columns["job_version"] = job_version
    same_job = (demo_modes.c.generation == mode.generation, demo_modes.c.job_id == mode.job_id)
    return await _move(conn, mode.owner_id, action, columns, *same_job)


async def note_job(conn: AsyncConnection, owner_id: UUID, job_version: int) -> None:
    """Remember that a snapshot of the job changed nothing, so that no older one changes something."""
    await conn.execute(sa.update(demo_modes).where(demo_modes.c.owner_id == owner_id).values(job_version=job_version))


async def begin_attempt(conn: AsyncConnection, fence: Fence) -> None:
    """Close the door behind lower attempts: from now on they can write nothing."""
    statement = sa.update(demo_modes).where(
        demo_modes.c.owner_id == fence.owner_id, demo_modes.c.attempt <= fence.attempt
    )
    await conn.execute(statement.values(attempt=fence.attempt))


async def hold(conn: AsyncConnection, fence: Fence, state: State) -> Mode | None:
    """Lock the owner's row for a write of this attempt; None if the attempt may not write (any more)."""
    statement = (
        sa.select(demo_modes)
        .where(
            demo_modes.c.owner_id == fence.owner_id,
            demo_modes.c.job_id == fence.job_id,
            demo_modes.c.generation == fence.generation,
            demo_modes.c.attempt == fence.attempt,
            demo_modes.c.state == state,
        )
        .with_for_update()
    )
    row = (await conn.execute(statement)).mappings().first()
    return _mode(row) if row else None


async def count(conn: AsyncConnection, owner_id: UUID, counted: Mapping[str, int]) -> Mode:
    """Set counters of a row that `hold` has locked, in the transaction that writes or removes what they count."""
    statement = (
        sa.update(demo_modes)
        .where(demo_modes.c.owner_id == owner_id)
        .values(**counted, version=demo_modes.c.version + 1)
        .returning(demo_modes)
    )
    return _mode((await conn.execute(statement)).mappings().one())


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
    insert = postgresql.insert(idempotency_keys).values(
        owner_id=owner_id, key=key, request_hash=request_hash, job_id=job_id, created_at=_now
    )
    statement = insert.on_conflict_do_update(
        index_elements=[idempotency_keys.c.owner_id, idempotency_keys.c.key],
        set_={"request_hash": request_hash, "job_id": job_id, "created_at": _now},
        where=idempotency_keys.c.created_at < _now - lifetime,
    ).returning(idempotency_keys.c.request_hash, idempotency_keys.c.job_id)
    row = (await conn.execute(statement)).first()
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
    conn: AsyncConnection, owner_id: UUID, action: Action, columns: Mapping[str, Any], *guards: sa.ColumnElement[bool]
) -> Mode | None:
    sources, target = domain.TRANSITIONS[action]
    statement = (
        sa.update(demo_modes)
        .where(
            demo_modes.c.owner_id == owner_id,
            demo_modes.c.state == sa.any_(sa.literal(sorted(sources), _texts)),
            *guards,
        )
        .values(
            state=target,
            previous_state=demo_modes.c.state,
            version=demo_modes.c.version + 1,
            changed_at=_now,
            checked_at=None,
            **columns,
        )
        .returning(demo_modes)
    )
    row = (await conn.execute(statement)).mappings().first()
    return _mode(row) if row else None


_texts = postgresql.ARRAY(sa.Text)


def _new_job(job_id: UUID, kind: JobKind) -> dict[str, Any]:
    generation = demo_modes.c.generation + 1
    return {"generation": generation, "attempt": 0, "job_id": job_id, "job_kind": kind, "job_version": 0}


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
        changed_at=row["changed_at"],
    )


def _wish(row: Mapping[Any, Any]) -> domain.Wish:
    return domain.Wish(
        profile_type=row["profile_type"],
        niche=row["niche"],
        content_count=row["content_count"],
        interaction_count=row["interaction_count"],
        seed=row["seed"],
    )
