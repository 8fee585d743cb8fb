"""Periodic deletion of expired rows."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from services.auth import audit, schema
from services.auth.api_tokens.domain import RETENTION as API_TOKEN_RETENTION
from services.auth.storage import NOW

SESSION_RETENTION = timedelta(days=7)
EVENT_RETENTION = timedelta(days=366)
ATTEMPT_RETENTION = timedelta(days=31)
"""For events that strangers cause."""
LINK_RETENTION = timedelta(days=1)
DEVICE_RETENTION = timedelta(days=400)
BATCH = 500
PAUSE_SECONDS = 0.05
"""Between batches, so that others run; a replica deletes thousands of rows a second, more than can be inserted."""

_newer = schema.devices.alias()
_EXPIRED: Sequence[tuple[sa.Table, sa.ColumnElement[bool] | sa.BooleanClauseList]] = (
    (schema.sessions, schema.sessions.c.idle_expires_at < NOW - SESSION_RETENTION),
    (schema.sessions, schema.sessions.c.revoked_at < NOW - SESSION_RETENTION),
    (
        schema.api_tokens,
        sa.func.least(schema.api_tokens.c.expires_at, schema.api_tokens.c.revoked_at) < NOW - API_TOKEN_RETENTION,
    ),
    (schema.login_failures, schema.login_failures.c.window_ends_at < NOW),
    (schema.login_challenges, schema.login_challenges.c.expires_at < NOW),
    (schema.second_factors, schema.second_factors.c.confirm_before < NOW),
    (schema.mail_tokens, schema.mail_tokens.c.expires_at < NOW - LINK_RETENTION),
    (schema.passkey_challenges, schema.passkey_challenges.c.expires_at < NOW),
    (schema.email_changes, schema.email_changes.c.revocable_until < NOW),
    (
        # Without the last device of a user the next sign-in would count as the first, even an attacker's.
        schema.devices,
        sa.and_(
            schema.devices.c.last_seen_at < NOW - DEVICE_RETENTION,
            sa.exists().where(
                _newer.c.user_id == schema.devices.c.user_id, _newer.c.last_seen_at > schema.devices.c.last_seen_at
            ),
        ),
    ),
    (schema.security_events, schema.security_events.c.occurred_at < NOW - EVENT_RETENTION),
    (
        schema.security_events,
        sa.and_(schema.security_events.c.occurred_at < NOW - ATTEMPT_RETENTION, audit.IS_ATTEMPT),
    ),
)
"""The rows to delete: of each table those that meet the condition."""


async def delete_expired(engine: AsyncEngine) -> None:
    """Delete the expired rows, in batches of `BATCH`, each in its own transaction.

    Sessions and API tokens go a week after their end, events after a year, those of strangers after a month, links after a day,
    changes of addresses a week after their request, devices after 400 days without a sign-in, everything else at once.
    A deletion that fails does not stop the others; its error is raised at the end.
    """
    remaining = [_deletion(table, condition) for table, condition in _EXPIRED]
    failures: list[Exception] = []
    is_complete = False
    while not is_complete:
        is_complete = True
        for delete in tuple(remaining):
            try:
                async with engine.begin() as conn:
                    is_complete &= (await conn.execute(delete)).rowcount < BATCH
            except Exception as error:  # noqa: BLE001 - raised at the end
                failures.append(error)
                remaining.remove(delete)
        await asyncio.sleep(PAUSE_SECONDS)
    if failures:
        raise failures[0]


def _deletion(table: sa.Table, condition: sa.ColumnElement[bool]) -> sa.Delete:
    """Return the statement that deletes a batch; it skips rows that other transactions have locked."""
    (key,) = table.primary_key
    batch = sa.select(key).where(condition).limit(BATCH).with_for_update(skip_locked=True)
    return sa.delete(table).where(key.in_(batch))
