"""Queries on notification settings, which are columns of the account, and on the use of sessions."""

from __future__ import annotations

import uuid
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.auth import domain
from services.auth.schema import sessions, users


async def set_settings(conn: AsyncConnection, user: domain.User) -> None:
    """Store what a user is notified of."""
    values = {
        "job_emails": user.job_emails.value,
        "page_notices": user.page_notices,
        "muted_notices": sorted(user.muted_notices),
    }
    await conn.execute(sa.update(users).where(users.c.user_id == user.user_id).values(values))


async def last_used_at(conn: AsyncConnection, user_id: uuid.UUID) -> datetime | None:
    """Return when a session of a user was last used, also one that has ended; None without sessions."""
    moment: datetime | None = await conn.scalar(
        sa.select(sa.func.max(sessions.c.last_seen_at)).where(sessions.c.user_id == user_id)
    )
    return moment
