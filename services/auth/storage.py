"""The queries of schema `auth`. Each works in the caller's transaction; the database's clock is the only one."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis import ids, postgres
from services.auth import domain
from services.auth.schema import login_failures, sessions, users

_NOW = sa.func.now()
_IS_LIVING = sa.and_(
    sessions.c.revoked_at.is_(None), sessions.c.idle_expires_at > _NOW, sessions.c.absolute_expires_at > _NOW
)
_IS_DUE = sessions.c.last_seen_at <= _NOW - domain.RENEW_AFTER
_USER = (users.c.user_id, users.c.email, users.c.name, users.c.role, users.c.created_at)
_SESSION = (
    sessions.c.session_id,
    sessions.c.user_id,
    sessions.c.user_agent,
    sessions.c.ip_address,
    sessions.c.created_at,
    sessions.c.last_seen_at,
    sessions.c.idle_expires_at,
    sessions.c.absolute_expires_at,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """A living session with its user, as a token finds it."""

    user: domain.User
    session: domain.Session
    remaining: timedelta
    """How long the session will live unless it is renewed."""
    is_due: bool
    """Whether its last renewal is long enough ago for the next."""


async def insert_user(
    conn: AsyncConnection, *, email: str, name: str, role: domain.Role, password_hash: str
) -> domain.User:
    """Make a user, or raise `EmailTaken`, after which the transaction is of no more use."""
    statement = sa.insert(users).returning(*_USER)
    values = {"email": email, "name": name, "role": role.value, "password_hash": password_hash}
    try:
        row = (await conn.execute(statement, {"user_id": ids.uuid7(), **values})).one()
    except exc.IntegrityError as error:
        if postgres.violated_constraint(error) == "users_email_key":
            raise domain.EmailTaken(field="email") from error
        raise
    return _user(row)


async def find_user(conn: AsyncConnection, email: str) -> tuple[domain.User, str] | None:
    """Find the user of a normalised address, with the password's hash."""
    found = await conn.execute(sa.select(*_USER, users.c.password_hash).where(users.c.email == email))
    row = found.one_or_none()
    return (_user(row), row.password_hash) if row else None


async def lock_user(conn: AsyncConnection, user_id: uuid.UUID) -> None:
    """Let the logins of one user come one after the other, until the transaction ends."""
    await conn.execute(sa.select(users.c.user_id).where(users.c.user_id == user_id).with_for_update(key_share=True))


async def replace_password_hash(conn: AsyncConnection, user_id: uuid.UUID, *, old: str, new: str) -> None:
    """Store another hash of the same password, unless the password has changed meanwhile."""
    is_same = sa.and_(users.c.user_id == user_id, users.c.password_hash == old)
    await conn.execute(sa.update(users).where(is_same).values(password_hash=new))


async def insert_session(
    conn: AsyncConnection, user_id: uuid.UUID, *, token_hash: bytes, client: domain.Client
) -> domain.Session:
    """Begin a session."""
    statement = sa.insert(sessions).returning(*_SESSION)
    values = statement.values(
        session_id=ids.uuid7(),
        user_id=user_id,
        token_hash=token_hash,
        user_agent=client.user_agent,
        ip_address=client.ip_address,
        idle_expires_at=_NOW + domain.IDLE_LIFETIME,
        absolute_expires_at=_NOW + domain.ABSOLUTE_LIFETIME,
    )
    return _session((await conn.execute(values)).one())


# Asked for with nearly every request: built once, since building it takes longer than executing it.
_FIND_LOGIN = (
    sa.select(
        *(column.label(f"session_{column.name}") for column in _SESSION),
        *(column.label(f"user_{column.name}") for column in _USER),
        (sessions.c.idle_expires_at - _NOW).label("remaining"),
        _IS_DUE.label("is_due"),
    )
    .join_from(sessions, users, sessions.c.user_id == users.c.user_id)
    .where(sessions.c.token_hash == sa.bindparam("token_hash"), _IS_LIVING)
)


async def find_login(conn: AsyncConnection, token_hash: bytes) -> Login | None:
    """Find the living session of a token, and its user."""
    row = (await conn.execute(_FIND_LOGIN, {"token_hash": token_hash})).one_or_none()
    if row is None:
        return None
    return Login(
        user=_user(row, "user_"), session=_session(row, "session_"), remaining=row.remaining, is_due=row.is_due
    )


async def renew_session(conn: AsyncConnection, session_id: uuid.UUID) -> None:
    """Move a session's idle end away, unless it has ended meanwhile or somebody else has just done so."""
    idle_end = sa.func.least(_NOW + domain.IDLE_LIFETIME, sessions.c.absolute_expires_at)
    still = sa.and_(sessions.c.session_id == session_id, _IS_LIVING, _IS_DUE)
    await conn.execute(sa.update(sessions).where(still).values(last_seen_at=_NOW, idle_expires_at=idle_end))


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


async def revoke_session(
    conn: AsyncConnection, user_id: uuid.UUID, session_id: uuid.UUID, reason: domain.RevokeReason
) -> domain.Revocation | None:
    """End one session of a user; None if it has ended already or is none of theirs."""
    return await _revoke(conn, user_id, sessions.c.session_id == session_id, reason)


async def revoke_all_sessions(
    conn: AsyncConnection, user_id: uuid.UUID, *, keep: uuid.UUID | None
) -> domain.Revocation | None:
    """End all living sessions of a user but `keep`; None if there was none."""
    which = sa.true() if keep is None else sessions.c.session_id != keep
    return await _revoke(conn, user_id, which, domain.RevokeReason.REVOKED_ALL)


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
    revoked_at = sa.func.greatest(_NOW, sessions.c.created_at)
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
        reason=reason,
        revoked_at=max(row.revoked_at for row in rows),
    )


async def seconds_blocked(conn: AsyncConnection, limits: dict[str, int]) -> int:
    """Give the seconds until the next attempt is allowed, 0 if it is now. `limits` says how many each key may have."""
    spent = sa.or_(*(sa.and_(login_failures.c.key == key, login_failures.c.failures >= n) for key, n in limits.items()))
    wait = sa.func.max(login_failures.c.window_ends_at) - _NOW
    is_open = login_failures.c.window_ends_at > _NOW
    blocked: timedelta | None = await conn.scalar(sa.select(wait).where(spent, is_open))
    return 0 if blocked is None else int(blocked.total_seconds()) + 1


async def count_attempt(conn: AsyncConnection, keys: Iterable[str]) -> None:
    """Count a failed login or a registration on each key; the first opens the key's window, which nothing prolongs."""
    window_end = _NOW + domain.ATTEMPTS_WINDOW
    is_over = login_failures.c.window_ends_at <= _NOW
    for key in sorted(keys):  # everybody locks in the same order
        first = postgresql.insert(login_failures).values(key=key, failures=1, window_ends_at=window_end)
        again = {
            "failures": sa.case((is_over, 1), else_=login_failures.c.failures + 1),
            "window_ends_at": sa.case((is_over, window_end), else_=login_failures.c.window_ends_at),
        }
        await conn.execute(first.on_conflict_do_update(index_elements=["key"], set_=again))


async def forget_failures(conn: AsyncConnection, key: str) -> None:
    """Forget the failures of a key."""
    await conn.execute(sa.delete(login_failures).where(login_failures.c.key == key))


async def delete_ended_sessions(conn: AsyncConnection, *, kept_for: timedelta, limit: int) -> int:
    """Delete sessions that ended longer than `kept_for` ago. A revoked one stays until it would have expired anyway."""
    ended = sessions.c.idle_expires_at < _NOW - kept_for
    return await _delete_some(conn, sessions, sessions.c.session_id, ended, limit)


async def delete_closed_windows(conn: AsyncConnection, *, limit: int) -> int:
    """Delete counts of attempts whose window is over."""
    closed = login_failures.c.window_ends_at < _NOW
    return await _delete_some(conn, login_failures, login_failures.c.key, closed, limit)


async def _delete_some(
    conn: AsyncConnection, table: sa.Table, key: sa.Column[Any], which: sa.ColumnElement[bool], limit: int
) -> int:
    some = sa.select(key).where(which).limit(limit).with_for_update(skip_locked=True)
    return (await conn.execute(sa.delete(table).where(key.in_(some)))).rowcount


def _user(row: sa.Row[*tuple[Any, ...]], prefix: str = "") -> domain.User:
    created_at: datetime = getattr(row, f"{prefix}created_at")
    return domain.User(
        user_id=getattr(row, f"{prefix}user_id"),
        email=getattr(row, f"{prefix}email"),
        name=getattr(row, f"{prefix}name"),
        role=domain.Role(getattr(row, f"{prefix}role")),
        created_at=created_at,
    )


def _session(row: sa.Row[*tuple[Any, ...]], prefix: str = "") -> domain.Session:
    return domain.Session(**{column.name: getattr(row, f"{prefix}{column.name}") for column in _SESSION})
