"""Queries on guests, which are rows of `users`. Each runs in the caller's transaction."""

from __future__ import annotations

from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis import ids
from services.auth import domain
from services.auth.schema import users
from services.auth.storage import INSERTED, NOW, user

_LOCK = 0x6775657374
"""The key of the advisory lock that orders new guests."""
DOMAIN = "guest.invalid"
"""The domain of guests' addresses. RFC 2606 reserves it: no email arrives there."""


async def count_exclusively(conn: AsyncConnection) -> int:
    """Return the number of guests. Until the transaction ends, no other transaction counts them."""
    await conn.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
    count: int = (
        await conn.scalar(sa.select(sa.func.count()).select_from(users).where(users.c.role == sa.text("'guest'"))) or 0
    )
    return count


async def insert(conn: AsyncConnection, *, name: str, password_hash: str, lifetime: timedelta) -> domain.User:
    """Insert a guest whose deletion is due after `lifetime`."""
    user_id = ids.uuid7()
    statement = sa.insert(users).values(
        user_id=user_id,
        email=f"guest-{user_id}@{DOMAIN}",
        name=name,
        role=domain.Role.GUEST.value,
        password_hash=password_hash,
        deletion_id=ids.uuid7(),
        deletion_due_at=NOW + lifetime,
    )
    return user((await conn.execute(statement.returning(*INSERTED))).one())
