"""Periodic deletion of expired rows."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from functools import partial

from sqlalchemy.ext.asyncio import AsyncEngine

from services.auth import audit, throttling
from services.auth.accounts import email_change_storage
from services.auth.api_tokens import storage as token_storage
from services.auth.email import links
from services.auth.passkeys import storage as passkey_storage
from services.auth.second_factor import storage as factor_storage
from services.auth.sessions import devices
from services.auth.sessions import storage as session_storage

SESSION_RETENTION = timedelta(days=7)
BATCH = 500
PAUSE_SECONDS = 0.05
"""Between batches, for everything else; a replica deletes thousands of rows a second, more than can be inserted."""

_DELETIONS: Sequence[Callable[..., Awaitable[int]]] = (
    partial(session_storage.delete_ended_sessions, retention=SESSION_RETENTION),
    token_storage.delete_ended_tokens,
    throttling.delete_closed_windows,
    factor_storage.delete_ended_challenges,
    factor_storage.delete_unconfirmed_factors,
    links.delete_ended_links,
    passkey_storage.delete_ended_ceremonies,
    email_change_storage.delete_ended_changes,
    devices.delete_unused_devices,
    audit.delete_old_events,
    audit.delete_old_attempts,
)


async def delete_expired(engine: AsyncEngine) -> None:
    """Delete the expired rows, in batches of `BATCH` of each kind, each in its own transaction.

    Sessions and API tokens go a week after their end, events after a year, those of strangers after a month, links after a day,
    changes of addresses a week after their request, devices after 400 days without a sign-in, everything else at once.
    A deletion that fails keeps no other from its rows; its error is raised at the end.
    """
    failed: dict[Callable[..., Awaitable[int]], Exception] = {}
    largest = BATCH
    while largest == BATCH:
        largest = 0
        for delete in _DELETIONS:
            if delete in failed:
                continue
            try:
                async with engine.begin() as conn:
                    largest = max(largest, await delete(conn, limit=BATCH))
            except Exception as error:  # noqa: BLE001 - raised at the end
                failed[delete] = error
        await asyncio.sleep(PAUSE_SECONDS)
    if failed:
        raise next(iter(failed.values()))
