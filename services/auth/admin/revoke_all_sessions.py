"""Revocation of all users' sessions and API tokens, after a break-in: by an admin or from the shell."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from services.auth import domain
from services.auth import storage as account_storage
from services.auth.accounts import email_change_storage, email_changes
from services.auth.api_tokens import storage as token_storage
from services.auth.audit import Kind, Origin, record
from services.auth.context import Context, publish_revocation
from services.auth.sessions import storage as session_storage

logger = logging.getLogger(__name__)

BATCH = 500
PAUSE_SECONDS = 0.05
"""Seconds before sessions that another transaction has locked are tried again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The number of sessions and API tokens that ended, and whether some, or pending changes of address, are left."""

    count: int
    has_more: bool


async def revoke_all_sessions(context: Context, *, admin: domain.Actor | None, seconds: float) -> Outcome:
    """End the sessions and API tokens that exist now, in transactions of `BATCH`, for at most `seconds`.

    Pending changes of all users' addresses are cancelled: the link to the new address needs no session.
    Gateways are informed when each transaction commits. The session of `admin` continues; from the shell it is None, and
    admins' sessions end too.
    """
    keep = admin.session_id if admin else None
    async with context.transaction() as tx:
        begun_before: datetime = (await tx.conn.execute(sa.select(account_storage.NOW))).scalar_one()
    until, count, has_more = time.monotonic() + seconds, 0, True
    while has_more and time.monotonic() < until:
        async with context.transaction() as tx:
            of_sessions = await session_storage.revoke_batch_of_all_users(
                tx.conn, begun_before=begun_before, keep=keep, limit=BATCH
            )
            of_tokens = await token_storage.revoke_batch_of_all_users(tx.conn, created_before=begun_before, limit=BATCH)
            cancelled_changes = await email_changes.cancel_all_pending(tx.conn, admin, limit=BATCH)
            revocations = [*of_sessions, *of_tokens]
            for revocation in revocations:
                publish_revocation(tx, revocation)
        count += sum(len(revocation.session_ids) for revocation in revocations)
        if not revocations and not cancelled_changes:
            async with context.autocommit().connect() as conn:
                has_more = (
                    await session_storage.has_others(conn, begun_before=begun_before, keep=keep)
                    or await token_storage.has_others(conn, created_before=begun_before)
                    or await email_change_storage.has_pending(conn)
                )
            if has_more:
                await asyncio.sleep(PAUSE_SECONDS)
    async with context.transaction() as tx:
        actor_id, session_id = (admin.user_id, admin.session_id) if admin else (None, None)
        origin = Origin(user_id=None, actor_id=actor_id, session_id=session_id)
        await record(tx.conn, Kind.SESSIONS_REVOKED, origin, scope="all_users", count=str(count))
    logger.warning("all users' sessions revoked", extra={"count": count, "actor": actor_id, "has_more": has_more})
    return Outcome(count=count, has_more=has_more)
