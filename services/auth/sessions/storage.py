"""Sessions in schema `auth`. Each query works in the caller's transaction; the database's clock is the only one."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis import ids
from services.auth import domain
from services.auth.accounts import storage as account_storage
from services.auth.accounts.storage import NOW
from services.auth.schema import sessions, users

_IS_LIVING = sa.and_(
    sessions.c.revoked_at.is_(None), sessions.c.idle_expires_at > NOW, sessions.c.absolute_expires_at > NOW
)
_IS_DUE = sessions.c.last_seen_at <= NOW - domain.RENEW_AFTER
_IS_FRESH = sessions.c.authenticated_at > NOW - domain.FRESH_FOR
_SESSION = (
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
_IDLE_LIFETIME = sa.case(
    (sessions.c.is_remembered, sa.literal(domain.REMEMBERED.idle, sa.Interval)),
    else_=sa.literal(domain.NOT_REMEMBERED.idle, sa.Interval),
)
_USED_NOW = {
    "last_seen_at": NOW,
    "idle_expires_at": sa.func.least(NOW + _IDLE_LIFETIME, sessions.c.absolute_expires_at),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """A living session with its user, as a token finds it."""

    user: domain.User
    session: domain.Session
    remaining: timedelta
    """How long the session will live unless it is renewed."""
    is_due: bool
    """Whether its last renewal is long enough ago for the next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Present:
    """The living session in which a call is made."""

    session: domain.Session
    role: domain.Role
    is_fresh: bool
    """Whether the user has lately proved who they are."""
    fresh_until: datetime

    def require_fresh(self) -> None:
        """Raise `ReauthenticationRequired` without a recent proof."""
        if not self.is_fresh:
            raise domain.ReauthenticationRequired()


async def insert_session(
    conn: AsyncConnection, user_id: uuid.UUID, *, token_hash: bytes, client: domain.Client, is_remembered: bool
) -> domain.Session:
    """Begin a session."""
    lifetimes = domain.REMEMBERED if is_remembered else domain.NOT_REMEMBERED
    values = sa.insert(sessions).values(
        session_id=ids.uuid7(),
        user_id=user_id,
        token_hash=token_hash,
        user_agent=client.user_agent,
        ip_address=client.ip_address,
        client_name=client.name,
        is_remembered=is_remembered,
        idle_expires_at=NOW + lifetimes.idle,
        absolute_expires_at=NOW + lifetimes.absolute,
    )
    return _session((await conn.execute(values.returning(*_SESSION))).one())


# Asked for with nearly every request: built once, since building it takes longer than executing it.
_FIND_LOGINS = (
    sa.select(
        *(column.label(f"session_{column.name}") for column in _SESSION),
        *(column.label(f"user_{column.name}") for column in account_storage.USER),
        (sessions.c.idle_expires_at - NOW).label("remaining"),
        _IS_DUE.label("is_due"),
        sessions.c.token_hash,
    )
    .join_from(sessions, users, sessions.c.user_id == users.c.user_id)
    .where(
        sessions.c.token_hash == sa.any_(sa.bindparam("token_hashes", type_=sa.ARRAY(sa.LargeBinary))),
        _IS_LIVING,
        users.c.disabled_at.is_(None),
    )
)


async def find_logins(conn: AsyncConnection, token_hashes: Collection[bytes]) -> dict[bytes, Login]:
    """Find the living sessions of tokens, and their users; nothing for the others."""
    rows = await conn.execute(_FIND_LOGINS, {"token_hashes": list(token_hashes)})
    return {
        row.token_hash: Login(
            user=account_storage.user(row, "user_"),
            session=_session(row, "session_"),
            remaining=row.remaining,
            is_due=row.is_due,
        )
        for row in rows
    }


async def renew_session(conn: AsyncConnection, session_id: uuid.UUID) -> bool:
    """Move a session's idle end away, unless it has ended meanwhile or somebody else has just done so; says whether."""
    still = sa.and_(sessions.c.session_id == session_id, _IS_LIVING, _IS_DUE)
    return (await conn.execute(sa.update(sessions).where(still).values(_USED_NOW))).rowcount == 1


async def replace_token(conn: AsyncConnection, actor: domain.Actor, token_hash: bytes) -> domain.Session:
    """Let a session go on under another token, fresh from now. Raises `SessionInvalid` if it has ended."""
    mine = sa.and_(sessions.c.session_id == actor.session_id, sessions.c.user_id == actor.user_id, _IS_LIVING)
    changed = {"token_hash": token_hash, "authenticated_at": NOW, **_USED_NOW}
    row = (await conn.execute(sa.update(sessions).where(mine).values(changed).returning(*_SESSION))).one_or_none()
    if row is None:
        raise domain.SessionInvalid()
    return _session(row)


async def get_present(conn: AsyncConnection, actor: domain.Actor) -> Present:
    """Read the session in which a call is made. Raises `SessionInvalid` if it has ended, or the account is disabled."""
    statement = (
        sa.select(
            *_SESSION,
            users.c.role,
            _IS_FRESH.label("is_fresh"),
            (sessions.c.authenticated_at + domain.FRESH_FOR).label("fresh_until"),
        )
        .join_from(sessions, users, sessions.c.user_id == users.c.user_id)
        .where(sessions.c.session_id == actor.session_id, sessions.c.user_id == actor.user_id)
        .where(_IS_LIVING, users.c.disabled_at.is_(None))
    )
    row = (await conn.execute(statement)).one_or_none()
    if row is None:
        raise domain.SessionInvalid()
    return Present(
        session=_session(row), role=domain.Role(row.role), is_fresh=row.is_fresh, fresh_until=row.fresh_until
    )


async def require_fresh(conn: AsyncConnection, actor: domain.Actor) -> Present:
    """Read the session in which a call is made that takes a recent proof. Raises `ReauthenticationRequired` without one."""
    present = await get_present(conn, actor)
    present.require_fresh()
    return present


async def list_sessions(conn: AsyncConnection, user_id: uuid.UUID) -> Sequence[domain.Session]:
    """List the living sessions of a user, most recently used first."""
    mine = sa.select(*_SESSION).where(sessions.c.user_id == user_id, _IS_LIVING)
    order = (sessions.c.last_seen_at.desc(), sessions.c.session_id.desc())
    rows = await conn.execute(mine.order_by(*order).limit(domain.SESSIONS_PER_USER))
    return [_session(row) for row in rows]


async def has_session(conn: AsyncConnection, user_id: uuid.UUID, session_id: uuid.UUID) -> bool:
    """Say whether this user has or had this session."""
    mine = sa.exists().where(sessions.c.session_id == session_id, sessions.c.user_id == user_id)
    return bool(await conn.scalar(sa.select(mine)))


async def refreshed(conn: AsyncConnection, user_id: uuid.UUID) -> domain.Revocation | None:
    """Name the living sessions of a user of which others must forget what they know; None if there is none."""
    mine = sa.select(sessions.c.session_id, NOW.label("at")).where(sessions.c.user_id == user_id, _IS_LIVING)
    rows = (await conn.execute(mine)).all()
    if not rows:
        return None
    session_ids = tuple(row.session_id for row in rows)
    return domain.Revocation(user_id=user_id, session_ids=session_ids, reason=domain.REFRESHED, revoked_at=rows[0].at)


async def revoke_session(
    conn: AsyncConnection, user_id: uuid.UUID, session_id: uuid.UUID, reason: domain.RevokeReason
) -> domain.Revocation | None:
    """End one session of a user; None if it has ended already or is none of theirs."""
    return await _revoke(conn, user_id, sessions.c.session_id == session_id, reason)


async def revoke_all_sessions(
    conn: AsyncConnection,
    user_id: uuid.UUID,
    *,
    keep: uuid.UUID | None = None,
    reason: domain.RevokeReason = domain.RevokeReason.REVOKED_ALL,
) -> domain.Revocation | None:
    """End all living sessions of a user but `keep`; None if there was none."""
    which = sa.true() if keep is None else sessions.c.session_id != keep
    return await _revoke(conn, user_id, which, reason)


async def revoke_some_of_everybody(
    conn: AsyncConnection, *, begun_before: datetime, keep: uuid.UUID | None, limit: int
) -> Sequence[domain.Revocation]:
    """End at most `limit` living sessions but `keep`, whosever they are; those that somebody else changes are left for later."""
    which = [_IS_LIVING, sessions.c.created_at <= begun_before]
    if keep is not None:
        which.append(sessions.c.session_id != keep)
    some = sa.select(sessions.c.session_id).where(*which).limit(limit).with_for_update(skip_locked=True)
    reason = domain.RevokeReason.REVOKED_BY_ADMIN.value
    statement = (
        sa.update(sessions)
        .where(sessions.c.session_id.in_(some))
        .values(revoked_at=NOW, revoke_reason=reason)
        .returning(sessions.c.user_id, sessions.c.session_id, sessions.c.revoked_at)
    )
    ended: dict[uuid.UUID, list[uuid.UUID]] = {}
    rows = (await conn.execute(statement)).all()
    for row in rows:
        ended.setdefault(row.user_id, []).append(row.session_id)
    return [
        domain.Revocation(user_id=user_id, session_ids=tuple(mine), reason=reason, revoked_at=rows[0].revoked_at)
        for user_id, mine in ended.items()
    ]


async def has_others(conn: AsyncConnection, *, begun_before: datetime, keep: uuid.UUID | None) -> bool:
    """Say whether a session but `keep` lives that had begun by then."""
    others = sa.exists().where(_IS_LIVING, sessions.c.created_at <= begun_before)
    if keep is not None:
        others = others.where(sessions.c.session_id != keep)
    return bool(await conn.scalar(sa.select(others)))


async def revoke_surplus_sessions(
    conn: AsyncConnection, user_id: uuid.UUID, *, newest: uuid.UUID
) -> domain.Revocation | None:
    """End the oldest sessions of a user beyond the limit, never the one that has just begun."""
    surplus = (
        sa.select(sessions.c.session_id)
        .where(sessions.c.user_id == user_id, _IS_LIVING, sessions.c.session_id != newest)
        .order_by(sessions.c.created_at.desc(), sessions.c.session_id.desc())
        .offset(domain.SESSIONS_PER_USER - 1)
    )
    return await _revoke(conn, user_id, sessions.c.session_id.in_(surplus), domain.RevokeReason.REVOKED)


async def _revoke(
    conn: AsyncConnection, user_id: uuid.UUID, which: sa.ColumnElement[bool], reason: domain.RevokeReason
) -> domain.Revocation | None:
    # A session may have begun after this transaction did.
    revoked_at = sa.func.greatest(NOW, sessions.c.created_at)
    statement = (
        sa.update(sessions)
        .where(sessions.c.user_id == user_id, _IS_LIVING, which)
        .values(revoked_at=revoked_at, revoke_reason=reason.value)
        .returning(sessions.c.session_id, sessions.c.revoked_at)
    )
    rows = (await conn.execute(statement)).all()
    if not rows:
        return None
    return domain.Revocation(
        user_id=user_id,
        session_ids=tuple(row.session_id for row in rows),
        reason=reason.value,
        revoked_at=max(row.revoked_at for row in rows),
    )


async def delete_ended_sessions(conn: AsyncConnection, *, kept_for: timedelta, limit: int) -> int:
    """Delete sessions that ended longer than `kept_for` ago. A revoked one stays until it would have expired anyway."""
    ended = sessions.c.idle_expires_at < NOW - kept_for
    return await account_storage.delete_some(conn, sessions, sessions.c.session_id, ended, limit)


def _session(row: sa.Row[*tuple[Any, ...]], prefix: str = "") -> domain.Session:
    return domain.Session(**{column.name: getattr(row, f"{prefix}{column.name}") for column in _SESSION})
