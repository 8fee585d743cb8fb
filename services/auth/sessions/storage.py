"""Queries on sessions. Each runs in the caller's transaction; all times are the database's."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass, make_dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis import ids
from chassis.prepared import Prepared
from services.auth import domain
from services.auth import storage as account_storage
from services.auth.api_tokens import storage as token_storage
from services.auth.current_session import IS_LIVE, SESSION, session
from services.auth.schema import api_tokens, sessions, users
from services.auth.storage import NOW, not_before

_IS_DUE = sessions.c.last_seen_at <= NOW - domain.RENEW_AFTER
_IDLE_LIFETIME = sa.case(
    (sessions.c.is_remembered, sa.literal(domain.REMEMBERED.idle, sa.Interval)),
    else_=sa.literal(domain.NOT_REMEMBERED.idle, sa.Interval),
)
_USED_NOW = {
    "last_seen_at": not_before(sessions.c.last_seen_at),
    "idle_expires_at": sa.func.least(NOW + _IDLE_LIFETIME, sessions.c.absolute_expires_at),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """A live session with its user."""

    user: domain.User
    session: domain.Session
    remaining: timedelta
    """Time until the session ends unless it is renewed."""
    is_due: bool
    """Whether the session is due for renewal."""


async def insert_session(
    conn: AsyncConnection, user_id: uuid.UUID, *, token_hash: bytes, client: domain.Client, is_remembered: bool
) -> domain.Session:
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
    return session((await conn.execute(values.returning(*SESSION))).one())


_LOGINS = (
    sa.select(
        *(column.label(f"session_{column.name}") for column in SESSION),
        *(column.label(f"user_{column.name}") for column in account_storage.USER),
        (sessions.c.idle_expires_at - NOW).label("remaining"),
        _IS_DUE.label("is_due"),
        sessions.c.token_hash,
    )
    .join_from(sessions, users, sessions.c.user_id == users.c.user_id)
    .where(
        sessions.c.token_hash == sa.any_(sa.bindparam("token_hashes", type_=sa.ARRAY(sa.LargeBinary))),
        IS_LIVE,
        users.c.disabled_at.is_(None),
    )
)
_FIND_LOGINS = Prepared(_LOGINS)
"""Runs with nearly every request."""
_LoginRow: Any = make_dataclass("_LoginRow", _LOGINS.selected_columns.keys(), slots=True)


async def find_logins(conn: AsyncConnection, token_hashes: Collection[bytes]) -> dict[bytes, Login]:
    """Find the live sessions of tokens with their users; dead or unknown tokens are left out."""
    rows = [_LoginRow(*row) for row in await _FIND_LOGINS.execute(conn, {"token_hashes": list(token_hashes)})]
    return {
        row.token_hash: Login(
            user=account_storage.user(row, "user_"),
            session=session(row, "session_"),
            remaining=row.remaining,
            is_due=row.is_due,
        )
        for row in rows
    }


async def renew_session(conn: AsyncConnection, session_id: uuid.UUID) -> bool:
    """Extend the idle expiry; False if the session has ended or was renewed concurrently."""
    is_renewable = sa.and_(sessions.c.session_id == session_id, IS_LIVE, _IS_DUE)
    return (await conn.execute(sa.update(sessions).where(is_renewable).values(_USED_NOW))).rowcount == 1


async def replace_token(
    conn: AsyncConnection, actor: domain.Actor, token_hash: bytes, *, is_proof: bool = True
) -> domain.Session:
    """Replace the token of a session, and mark it fresh if `is_proof`. Raises `SessionInvalid` if it has ended."""
    is_current = sa.and_(sessions.c.session_id == actor.session_id, sessions.c.user_id == actor.user_id, IS_LIVE)
    proof = {"authenticated_at": not_before(sessions.c.authenticated_at)} if is_proof else {}
    values = {"token_hash": token_hash, **proof, **_USED_NOW}
    row = (await conn.execute(sa.update(sessions).where(is_current).values(values).returning(*SESSION))).one_or_none()
    if row is None:
        raise domain.SessionInvalid()
    return session(row)


async def list_sessions(conn: AsyncConnection, user_id: uuid.UUID) -> Sequence[domain.Session]:
    """List the live sessions of a user, most recently used first."""
    statement = sa.select(*SESSION).where(sessions.c.user_id == user_id, IS_LIVE)
    order = (sessions.c.last_seen_at.desc(), sessions.c.session_id.desc())
    rows = await conn.execute(statement.order_by(*order).limit(domain.SESSIONS_PER_USER))
    return [session(row) for row in rows]


async def find_session(conn: AsyncConnection, user_id: uuid.UUID, session_id: uuid.UUID) -> domain.Session | None:
    """Find a session of a user, ended or not."""
    statement = sa.select(*SESSION).where(sessions.c.session_id == session_id, sessions.c.user_id == user_id)
    row = (await conn.execute(statement)).one_or_none()
    return session(row) if row else None


async def has_session(conn: AsyncConnection, user_id: uuid.UUID, session_id: uuid.UUID) -> bool:
    """Return whether a session is or was of this user."""
    exists = sa.exists().where(sessions.c.session_id == session_id, sessions.c.user_id == user_id)
    return bool(await conn.scalar(sa.select(exists)))


async def refreshed(conn: AsyncConnection, user_id: uuid.UUID) -> domain.Revocation | None:
    """Return a notice that caches must drop the live sessions and API tokens of a user; None if there is none."""
    of_user = sa.select(sessions.c.session_id, NOW.label("at")).where(sessions.c.user_id == user_id, IS_LIVE)
    active = sa.select(api_tokens.c.token_id, NOW).where(api_tokens.c.user_id == user_id, token_storage.IS_ACTIVE)
    rows = (await conn.execute(sa.union_all(of_user, active))).all()
    if not rows:
        return None
    session_ids = tuple(row.session_id for row in rows)
    return domain.Revocation(user_id=user_id, session_ids=session_ids, reason=domain.REFRESHED, revoked_at=rows[0].at)


async def revoke_session(
    conn: AsyncConnection, user_id: uuid.UUID, session_id: uuid.UUID, reason: domain.RevokeReason
) -> domain.Revocation | None:
    """End a session of a user; None if it has ended already or belongs to another user."""
    return await _revoke(conn, user_id, sessions.c.session_id == session_id, reason)


async def revoke_all_sessions(
    conn: AsyncConnection,
    user_id: uuid.UUID,
    *,
    keep: uuid.UUID | None = None,
    reason: domain.RevokeReason = domain.RevokeReason.REVOKED_ALL,
) -> domain.Revocation | None:
    """End all live sessions of a user but `keep`; None if there was none."""
    condition = sa.true() if keep is None else sessions.c.session_id != keep
    return await _revoke(conn, user_id, condition, reason)


async def revoke_batch_of_all_users(
    conn: AsyncConnection, *, begun_before: datetime, keep: uuid.UUID | None, limit: int
) -> Sequence[domain.Revocation]:
    """End at most `limit` live sessions of any users but `keep`; skip those that other transactions have locked."""
    conditions = [IS_LIVE, sessions.c.created_at <= begun_before]
    if keep is not None:
        conditions.append(sessions.c.session_id != keep)
    batch = sa.select(sessions.c.session_id).where(*conditions).limit(limit).with_for_update(skip_locked=True)
    reason = domain.RevokeReason.REVOKED_BY_ADMIN.value
    statement = (
        sa.update(sessions)
        .where(sessions.c.session_id.in_(batch))
        .values(revoked_at=NOW, revoke_reason=reason)
        .returning(sessions.c.user_id, sessions.c.session_id, sessions.c.revoked_at)
    )
    ended_by_user: dict[uuid.UUID, list[uuid.UUID]] = {}
    rows = (await conn.execute(statement)).all()
    for row in rows:
        ended_by_user.setdefault(row.user_id, []).append(row.session_id)
    return [
        domain.Revocation(user_id=user_id, session_ids=tuple(session_ids), reason=reason, revoked_at=rows[0].revoked_at)
        for user_id, session_ids in ended_by_user.items()
    ]


async def has_others(conn: AsyncConnection, *, begun_before: datetime, keep: uuid.UUID | None) -> bool:
    """Return whether a live session that began before then is left, other than `keep`."""
    exists = sa.exists().where(IS_LIVE, sessions.c.created_at <= begun_before)
    if keep is not None:
        exists = exists.where(sessions.c.session_id != keep)
    return bool(await conn.scalar(sa.select(exists)))


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionCount:
    """The number of live sessions and of their users."""

    sessions: int
    users: int
    has_more: bool
    """Whether the count ended at its limit."""


async def count_sessions(conn: AsyncConnection, *, limit: int) -> SessionCount:
    """Count the live sessions of all users, at most `limit`."""
    live = sa.select(sessions.c.user_id).where(IS_LIVE).limit(limit + 1).subquery()
    statement = sa.select(sa.func.count(), sa.func.count(live.c.user_id.distinct())).select_from(live)
    count, user_count = (await conn.execute(statement)).one()
    return SessionCount(sessions=min(count, limit), users=user_count, has_more=count > limit)


async def revoke_surplus_sessions(
    conn: AsyncConnection, user_id: uuid.UUID, *, newest: uuid.UUID
) -> domain.Revocation | None:
    """End the oldest sessions of a user beyond the limit, never `newest`."""
    surplus = (
        sa.select(sessions.c.session_id)
        .where(sessions.c.user_id == user_id, IS_LIVE, sessions.c.session_id != newest)
        .order_by(sessions.c.created_at.desc(), sessions.c.session_id.desc())
        .offset(domain.SESSIONS_PER_USER - 1)
    )
    return await _revoke(conn, user_id, sessions.c.session_id.in_(surplus), domain.RevokeReason.REVOKED)


async def _revoke(
    conn: AsyncConnection, user_id: uuid.UUID, condition: sa.ColumnElement[bool], reason: domain.RevokeReason
) -> domain.Revocation | None:
    statement = (
        sa.update(sessions)
        .where(sessions.c.user_id == user_id, IS_LIVE, condition)
        .values(revoked_at=not_before(sessions.c.created_at), revoke_reason=reason.value)
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
