"""The end of everybody's sessions: what is done after a break-in, by an admin or at the shell."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from services.auth import domain
from services.auth.accounts import storage as account_storage
from services.auth.audit import Kind, Origin, record
from services.auth.context import Context
from services.auth.sessions import storage as session_storage

logger = logging.getLogger(__name__)

BATCH = 500
PAUSE = 0.05
"""Seconds before what somebody else was changing is looked at again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How many sessions ended, and whether some are left."""

    count: int
    has_more: bool


async def end_sessions(context: Context, *, admin: domain.Actor | None, seconds: float) -> Ended:
    """End the sessions that live now, in transactions of `BATCH`, for so long at most; the one of `admin` goes on.

    Each is told to the gateways when its transaction is committed. Where the sessions of an admin are what is not to be trusted
    any more, `admin` is None.
    """
    keep = admin.session_id if admin else None
    async with context.transaction() as transaction:
        begun_before: datetime = (await transaction.conn.execute(sa.select(account_storage.NOW))).scalar_one()
    until, count, has_more = time.monotonic() + seconds, 0, True
    while has_more and time.monotonic() < until:
        async with context.transaction() as transaction:
            ended = await session_storage.revoke_some_of_everybody(
                transaction.conn, begun_before=begun_before, keep=keep, limit=BATCH
            )
            for revocation in ended:
                transaction.tell(revocation)
        count += sum(len(revocation.session_ids) for revocation in ended)
        if not ended:
            async with context.reading().connect() as conn:
                has_more = await session_storage.has_others(conn, begun_before=begun_before, keep=keep)
            if has_more:
                await asyncio.sleep(PAUSE)
    async with context.transaction() as transaction:
        actor_id, session_id = (admin.user_id, admin.session_id) if admin else (None, None)
        origin = Origin(user_id=None, actor_id=actor_id, session_id=session_id)
        await record(transaction.conn, Kind.SESSIONS_REVOKED, origin, scope="everybody", count=str(count))
    logger.warning("everybody's sessions ended", extra={"count": count, "actor": actor_id, "has_more": has_more})
    return Ended(count=count, has_more=has_more)
