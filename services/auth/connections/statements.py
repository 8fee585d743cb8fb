"""The guarded updates of connections: their states come from `domain.TRANSITIONS`."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql import dml

from services.auth.connections import domain
from services.auth.connections.domain import Action, JobKind, State
from services.auth.connections.schema import connections

_now = sa.func.now()

_NO_ERROR = {"error_code": None, "error_message": None}
_NO_JOB = {"job_id": None, "job_kind": None}
_NO_ACCESS = {"connected_at": None, "access_expires_at": None, "refresh_at": None}
_NOBODY = {"external_id": None, "account_name": None, "account_url": None, "account_picture_url": None}
_NOTHING = {**_NOBODY, "item_count": 0, "synced_at": None}
_NEW_GENERATION = {"generation": connections.c.generation + 1, "attempt": 0, "job_version": 0}
_ENDING = {**_NEW_GENERATION, "job_kind": JobKind.DISCONNECT, **_NO_ACCESS, **_NO_ERROR}
_CHANGES: Mapping[Action, Mapping[str, Any]] = {
    Action.BEGIN: {**_NEW_GENERATION, **_NO_JOB, **_NOTHING, **_NO_ERROR},
    Action.RETURN: {"job_kind": JobKind.CONNECT},
    Action.DISCONNECT: _ENDING,
    Action.CLOSE: _ENDING,
    Action.WITHDRAW: _ENDING,
    Action.COMPLETE_CONNECT: {"connected_at": _now, "synced_at": _now},
    Action.SYNC: {"synced_at": _now},
    Action.FAIL_REFRESH: {**_NO_JOB, **_NO_ACCESS},
    Action.COMPLETE_DISCONNECT: _NOTHING,
    Action.FORCE_DISCONNECT: _NOTHING,
}
"""What changes with an action besides the state, whatever its occasion."""

OF = (connections.c.user_id == sa.bindparam("of_user"), connections.c.platform == sa.bindparam("of_platform"))
GET = sa.select(connections).where(*OF)
LOCK = GET.with_for_update()
HOLD = LOCK.where(
    connections.c.job_id == sa.bindparam("job"),
    connections.c.generation == sa.bindparam("generation"),
    connections.c.attempt == sa.bindparam("attempt"),
    connections.c.state == sa.bindparam("state"),
)
BEGIN_ATTEMPT = (
    sa.update(connections)
    .where(*OF, connections.c.attempt <= sa.bindparam("begun"))
    .values(attempt=sa.bindparam("begun"))
)


def _can(action: Action) -> sa.ColumnElement[bool]:
    sources, _ = domain.TRANSITIONS[action]
    return connections.c.state.in_(sorted(sources))


def _transition(action: Action) -> dict[str, Any]:
    return {
        "state": domain.TRANSITIONS[action][1],
        "previous_state": connections.c.state,
        "version": connections.c.version + 1,
        "changed_at": _now,
        "checked_at": None,
        **_CHANGES.get(action, {}),
    }


@functools.cache
def move(action: Action, columns: frozenset[str], *, is_guarded: bool) -> dml.ReturningUpdate[Any]:
    """Give the statement that changes the state by `action`, and with it the columns to their parameters `new_…`.

    Guarded it does so only for the generation `of_generation`.
    """
    new: dict[str, sa.ColumnElement[Any]] = {
        name: sa.bindparam(f"new_{name}", type_=connections.c[name].type) for name in sorted(columns)
    }
    if "attempt" in new:
        new["attempt"] = sa.func.greatest(connections.c.attempt, new["attempt"])
    statement = sa.update(connections).where(*OF, _can(action)).values(**{**_transition(action), **new})
    if is_guarded:
        statement = statement.where(connections.c.generation == sa.bindparam("of_generation"))
    return statement.returning(connections)


def _beginning() -> dml.ReturningInsert[Any]:
    first = postgresql.insert(connections).values(
        user_id=sa.bindparam("of_user"),
        platform=sa.bindparam("of_platform"),
        state=State.CONNECTING,
        previous_state=State.DISCONNECTED,
        generation=1,
        version=1,
    )
    return first.on_conflict_do_update(
        index_elements=[connections.c.user_id, connections.c.platform],
        set_=_transition(Action.BEGIN),
        where=_can(Action.BEGIN),
    ).returning(connections)


BEGIN = _beginning()
"""Begins a generation from the state that the row says, or from disconnected where there is none."""
