"""The statements that run for every demo mode: built once, since building one takes longer than executing it."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql import dml

from services.demo import domain
from services.demo.domain import Action, JobKind, State
from services.demo.schema import demo_modes, idempotency_keys

_now = sa.func.now()

NOTHING_WRITTEN = {"content_written": 0, "interactions_written": 0, "content_removed": 0, "interactions_removed": 0}
_NO_ERROR = {"error_code": None, "error_message": None}
_NEW_GENERATION = {"generation": demo_modes.c.generation + 1, "attempt": 0, "job_version": 0}
_CHANGES: Mapping[Action, Mapping[str, Any]] = {
    Action.ENABLE: {
        **_NEW_GENERATION,
        "job_kind": JobKind.ENABLE,
        "seeded_at": _now,
        **NOTHING_WRITTEN,
        **_NO_ERROR,
    },
    Action.DISABLE: {**_NEW_GENERATION, "job_kind": JobKind.DISABLE, "enabled_at": None, "expires_at": None},
    Action.DISMISS: {"generation": demo_modes.c.generation + 1, **NOTHING_WRITTEN, **_NO_ERROR},
    # Without a wish to expire it stays null.
    Action.COMPLETE_ENABLE: {"enabled_at": _now, "expires_at": _now + demo_modes.c.expire_after},
    Action.CANCEL_ENABLE: NOTHING_WRITTEN,
}
"""What changes with an action besides the state, whatever its occasion."""


def _can(action: Action) -> sa.ColumnElement[bool]:
    sources, _ = domain.TRANSITIONS[action]
    return demo_modes.c.state.in_(sorted(sources))


def _transition(action: Action) -> dict[str, Any]:
    """Give the columns that change with an action whatever its occasion."""
    return {
        "state": domain.TRANSITIONS[action][1],
        "previous_state": demo_modes.c.state,
        "version": demo_modes.c.version + 1,
        "changed_at": _now,
        "checked_at": None,
        **_CHANGES.get(action, {}),
    }


@functools.cache
def move(action: Action, columns: frozenset[str], *, is_guarded: bool) -> dml.ReturningUpdate[Any]:
    """Give the statement that changes the state by `action`, and with it the columns to their parameters `new_…`."""
    new: dict[str, sa.ColumnElement[Any]] = {
        name: sa.bindparam(f"new_{name}", type_=demo_modes.c[name].type) for name in sorted(columns)
    }
    if "attempt" in new:
        new["attempt"] = sa.func.greatest(demo_modes.c.attempt, new["attempt"])
    statement = (
        sa.update(demo_modes)
        .where(demo_modes.c.owner_id == sa.bindparam("owner"), _can(action))
        .values(**_transition(action), **new)
        .returning(demo_modes)
    )
    if is_guarded:
        statement = statement.where(
            demo_modes.c.generation == sa.bindparam("of_generation"), demo_modes.c.job_id == sa.bindparam("of_job")
        )
    return statement


EXPIRE = move(Action.DISABLE, frozenset({"job_id"}), is_guarded=False).where(demo_modes.c.expires_at <= _now)
"""Disables a demo mode whose time has come."""

EXPIRED = (
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


@functools.cache
def count(columns: frozenset[str]) -> dml.ReturningUpdate[Any]:
    """Give the statement that sets counters to their parameters `new_…`."""
    new = {name: sa.bindparam(f"new_{name}", type_=sa.Integer) for name in sorted(columns)}
    statement = sa.update(demo_modes).where(demo_modes.c.owner_id == sa.bindparam("owner"))
    return statement.values(**new, version=demo_modes.c.version + 1).returning(demo_modes)


def _accepting_enable() -> dml.ReturningInsert[Any]:
    wish: dict[str, sa.BindParameter[Any]] = {
        name: sa.bindparam(name) for name in ("profile_type", "niche", "content_count", "interaction_count", "seed")
    }
    wish["expire_after"] = sa.bindparam("expire_after", type_=sa.Interval)
    wished = {"job_id": sa.bindparam("job", type_=sa.Uuid), **wish}
    first = postgresql.insert(demo_modes).values(
        **wished,
        owner_id=sa.bindparam("owner"),
        state=State.ENABLING,
        previous_state=State.DISABLED,
        generation=1,
        version=1,
        job_kind=JobKind.ENABLE,
        seeded_at=_now,
        changed_at=_now,
    )
    return first.on_conflict_do_update(
        index_elements=[demo_modes.c.owner_id], set_={**_transition(Action.ENABLE), **wished}, where=_can(Action.ENABLE)
    ).returning(demo_modes)


ACCEPT_ENABLE = _accepting_enable()
"""Enables from the state that the owner's row says, or from disabled where there is none."""

GET_MODE = sa.select(demo_modes).where(demo_modes.c.owner_id == sa.bindparam("owner"))
LOCK_MODE = GET_MODE.with_for_update()
HOLD_MODE = LOCK_MODE.where(
    demo_modes.c.job_id == sa.bindparam("job"),
    demo_modes.c.generation == sa.bindparam("generation"),
    demo_modes.c.attempt == sa.bindparam("attempt"),
    demo_modes.c.state == sa.bindparam("state"),
)
BEGIN_ATTEMPT = (
    sa.update(demo_modes)
    .where(demo_modes.c.owner_id == sa.bindparam("owner"), demo_modes.c.attempt <= sa.bindparam("begun"))
    .values(attempt=sa.bindparam("begun"))
)


def _claiming_key() -> dml.ReturningInsert[Any]:
    bound = {
        "request_hash": sa.bindparam("hash", type_=sa.LargeBinary),
        "job_id": sa.bindparam("job", type_=sa.Uuid),
        "created_at": _now,
    }
    insert = postgresql.insert(idempotency_keys).values(
        owner_id=sa.bindparam("owner"), key=sa.bindparam("given_key"), **bound
    )
    is_over = idempotency_keys.c.created_at < _now - sa.bindparam("lifetime", type_=sa.Interval)
    key = [idempotency_keys.c.owner_id, idempotency_keys.c.key]
    claimed = insert.on_conflict_do_update(index_elements=key, set_=bound, where=is_over)
    return claimed.returning(idempotency_keys.c.request_hash, idempotency_keys.c.job_id)


CLAIM_KEY = _claiming_key()
