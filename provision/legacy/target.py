"""Writes of imported rows. Rows that exist already stay as they are."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from provision.legacy import mapping

Values = dict[str, Any]

_time = sa.DateTime(timezone=True)
_LIFECYCLE = (
    *("state", "previous_state", "generation", "version", "error_code", "error_message"),
    *("changed_at",),
)


def _table(schema: str, name: str, *columns: str, **typed: Any) -> sa.TableClause:
    listed = [sa.column(column) for column in columns] + [sa.column(column, type_) for column, type_ in typed.items()]
    return sa.table(name, *listed, schema=schema)


USERS = _table(
    "auth",
    "users",
    *("email", "name", "role", "password_hash"),
    user_id=sa.Uuid(),
    **dict.fromkeys(("created_at", "password_changed_at", "email_verified_at", "disabled_at"), _time),
)
DEMO_MODES = _table(
    "demo",
    "demo_modes",
    *("state", "previous_state", "generation", "version", "error_code", "error_message", "job_kind"),
    *mapping.DEMO_OPTIONS,
    *("seed", "content_written", "interactions_written", "content_removed", "interactions_removed"),
    owner_id=sa.Uuid(),
    job_id=sa.Uuid(),
    **dict.fromkeys(("seeded_at", "changed_at", "checked_at"), _time),
)
CONNECTIONS = _table("auth", "connections", "platform", *_LIFECYCLE[:-1], user_id=sa.Uuid(), changed_at=_time)
KINDS = _table("jobs", "kinds", "kind", retention=sa.Interval())
JOBS = _table(
    "jobs",
    "jobs",
    *("kind", "state", "error_code", "error_message", "cancel_reason", "errors"),
    *("priority", "budget", "attempt", "max_attempts", "payload_bytes"),
    job_id=sa.Uuid(),
    owner_id=sa.Uuid(),
    payload=postgresql.JSONB(),
    result=postgresql.JSONB(none_as_null=True),
    **dict.fromkeys(("backoff", "max_backoff", "attempt_timeout"), sa.Interval()),
    **dict.fromkeys(("created_at", "run_at", "started_at", "finished_at"), _time),
)
_SPEC: Values = {
    "payload": {},
    "payload_bytes": 2,
    "priority": 0,
    "budget": 1,
    "attempt": 1,
    "max_attempts": 1,
    "backoff": timedelta(seconds=1),
    "max_backoff": timedelta(seconds=1),
    "attempt_timeout": timedelta(hours=1),
}


def insert_users(conn: sa.Connection, users: Sequence[Values], demo_modes: Sequence[Values]) -> set[uuid.UUID]:
    """Insert users with their demo modes; return the ids of those whose id and address were free."""
    inserted = _insert(conn, USERS, users, USERS.c.user_id)
    _insert(conn, DEMO_MODES, [mode for mode in demo_modes if mode["owner_id"] in inserted], DEMO_MODES.c.owner_id)
    return inserted


def insert_connections(conn: sa.Connection, connections: Sequence[Values]) -> set[tuple[uuid.UUID, str]]:
    """Insert connections; return the keys of those that are new."""
    keys = [CONNECTIONS.c.user_id, CONNECTIONS.c.platform]
    statement = postgresql.insert(CONNECTIONS).on_conflict_do_nothing().returning(*keys)
    return {(row.user_id, row.platform) for row in conn.execute(statement, list(connections))} if connections else set()


def insert_jobs(conn: sa.Connection, jobs: Sequence[Values]) -> set[uuid.UUID]:
    """Insert finished jobs, and their kinds with the retention of history; return the ids of those that are new."""
    kinds = [{"kind": kind, "retention": mapping.HISTORY_AGE} for kind in sorted({job["kind"] for job in jobs})]
    _insert(conn, KINDS, kinds, KINDS.c.kind)
    return _insert(conn, JOBS, [_SPEC | job for job in jobs], JOBS.c.job_id)


def existing_users(conn: sa.Connection, user_ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
    """Return which of these users have an account, and keep them from being deleted in this transaction."""
    condition = USERS.c.user_id == sa.any_(sa.literal(list(user_ids), sa.ARRAY(sa.Uuid)))
    statement = sa.select(USERS.c.user_id).where(condition).with_for_update(key_share=True, read=True)
    return set(conn.execute(statement).scalars())


def _insert(
    conn: sa.Connection, table: sa.TableClause, values: Sequence[Values], key: sa.ColumnClause[Any]
) -> set[Any]:
    if not values:
        return set()
    statement = postgresql.insert(table).on_conflict_do_nothing().returning(key)
    return set(conn.execute(statement, list(values)).scalars())
