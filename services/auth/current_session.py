"""The session of a call: whether it is live, and fresh enough for a sensitive change."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.auth import domain
from services.auth.schema import sessions, users
from services.auth.storage import NOW

IS_LIVE = sa.and_(
    sessions.c.revoked_at.is_(None), sessions.c.idle_expires_at > NOW, sessions.c.absolute_expires_at > NOW
)
_IS_FRESH = sessions.c.authenticated_at > NOW - domain.FRESH_FOR
SESSION = (
    sessions.c.session_id,
    sessions.c.user_id,
    sessions.c.user_agent,
    sessions.c.ip_address,
    sessions.c.created_at,
    sessions.c.last_seen_at,
    sessions.c.idle_expires_at,
    sessions.c.absolute_expires_at,
    sessions.c.is_remembered,
    sessions.c.authenticated_at,
    sessions.c.client_name,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentSession:
    """The live session of a call."""

    session: domain.Session
    role: domain.Role
    is_fresh: bool
    """Whether the user authenticated within `FRESH_FOR`."""
    fresh_until: datetime

    def require_fresh(self) -> None:
        """Raise `ReauthenticationRequired` unless the session is fresh; a guest has no sensitive changes to make."""
        self.require_account()
        if not self.is_fresh:
            raise domain.ReauthenticationRequired()

    def require_account(self) -> None:
        """Raise `AccountRequired` for a guest."""
        if self.role is domain.Role.GUEST:
            raise domain.AccountRequired()


async def get(conn: AsyncConnection, actor: domain.Actor) -> CurrentSession:
    """Read the session of a call. Raises `SessionInvalid` if it has ended or the account is disabled."""
    statement = (
        sa.select(
            *SESSION,
            users.c.role,
            _IS_FRESH.label("is_fresh"),
            (sessions.c.authenticated_at + domain.FRESH_FOR).label("fresh_until"),
        )
        .join_from(sessions, users, sessions.c.user_id == users.c.user_id)
        .where(sessions.c.session_id == actor.session_id, sessions.c.user_id == actor.user_id)
        .where(IS_LIVE, users.c.disabled_at.is_(None))
    )
    row = (await conn.execute(statement)).one_or_none()
    if row is None:
        raise domain.SessionInvalid()
    return CurrentSession(
        session=session(row), role=domain.Role(row.role), is_fresh=row.is_fresh, fresh_until=row.fresh_until
    )


async def require_fresh(conn: AsyncConnection, actor: domain.Actor) -> CurrentSession:
    """Read the session of a sensitive call. Raises `SessionInvalid`, and `ReauthenticationRequired` if it is not fresh."""
    current = await get(conn, actor)
    current.require_fresh()
    return current


def session(row: Any, prefix: str = "") -> domain.Session:
    """Build a session from the columns `SESSION` of a row."""
    return domain.Session(**{column.name: getattr(row, f"{prefix}{column.name}") for column in SESSION})
