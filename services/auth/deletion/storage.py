"""Queries on deletions, which are columns of the account. Each runs in the caller's transaction."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.auth import audit, domain, schema
from services.auth.connections.domain import TRANSITIONS, Action, State
from services.auth.connections.schema import connections, pending_revocations
from services.auth.schema import email_changes, login_failures, security_events, users
from services.auth.storage import NOW

_ERASING_FOR = (sa.func.clock_timestamp() - users.c.erasure_started_at).label("erasing_for")
EARLIER_EMAILS = 9
_OPEN = {*TRANSITIONS[Action.CLOSE][0], State.DISCONNECTING}


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasing:
    """An account that is being erased."""

    user_id: uuid.UUID
    emails: tuple[str, ...]
    """The address, and earlier ones that no other account has."""
    erasing_for: timedelta
    """Time since the account was closed permanently."""
    created_at: datetime
    is_guest: bool


async def schedule(conn: AsyncConnection, user_id: uuid.UUID, deletion_id: uuid.UUID, *, after: timedelta) -> None:
    """Store that an account is to be deleted."""
    await _set(conn, user_id, deletion_id=deletion_id, deletion_due_at=NOW + after)


async def cancel(conn: AsyncConnection, user_id: uuid.UUID) -> bool:
    """Keep an account; False if it is not to be deleted, is being erased, or is a guest's."""
    is_pending = sa.and_(
        users.c.deletion_id.is_not(None), users.c.erasure_started_at.is_(None), users.c.role != domain.Role.GUEST.value
    )
    statement = sa.update(users).where(users.c.user_id == user_id, is_pending)
    return (await conn.execute(statement.values(deletion_id=None, deletion_due_at=None))).rowcount == 1


async def is_erasing(conn: AsyncConnection, user_id: uuid.UUID) -> bool:
    """Return whether erasing an account has begun."""
    is_begun = sa.exists().where(users.c.user_id == user_id, users.c.erasure_started_at.is_not(None))
    return bool(await conn.scalar(sa.select(is_begun)))


async def list_due(conn: AsyncConnection, *, after: uuid.UUID, limit: int) -> Sequence[uuid.UUID]:
    """Return deletions whose grace period is over, in the order of their ids."""
    statement = sa.select(users.c.deletion_id).where(users.c.deletion_due_at <= NOW, users.c.deletion_id > after)
    return list((await conn.execute(statement.order_by(users.c.deletion_id).limit(limit))).scalars())


async def find_user(conn: AsyncConnection, deletion_id: uuid.UUID) -> uuid.UUID | None:
    """Return the account of a deletion whose grace period is over."""
    statement = sa.select(users.c.user_id).where(users.c.deletion_id == deletion_id, users.c.deletion_due_at <= NOW)
    user_id: uuid.UUID | None = (await conn.execute(statement)).scalar_one_or_none()
    return user_id


async def close(conn: AsyncConnection, user_id: uuid.UUID, deletion_id: uuid.UUID) -> Erasing | None:
    """Close a locked account permanently; None if its deletion was cancelled. Repeating it changes nothing."""
    statement = (
        sa.update(users)
        .where(users.c.user_id == user_id, users.c.deletion_id == deletion_id, users.c.deletion_due_at <= NOW)
        .values(
            erasure_started_at=sa.func.coalesce(users.c.erasure_started_at, NOW),
            disabled_at=sa.func.coalesce(users.c.disabled_at, NOW),
        )
        .returning(users.c.email, users.c.role, users.c.created_at, _ERASING_FOR)
    )
    row = (await conn.execute(statement)).one_or_none()
    if row is None:
        return None
    earlier = await _earlier_emails(conn, user_id)
    return Erasing(
        user_id=user_id,
        emails=(row.email, *earlier),
        erasing_for=row.erasing_for,
        created_at=row.created_at,
        is_guest=row.role == domain.Role.GUEST.value,
    )


async def _earlier_emails(conn: AsyncConnection, user_id: uuid.UUID) -> Sequence[str]:
    # A change that was not confirmed names an address that may be another person's.
    is_other = sa.exists().where(users.c.email == email_changes.c.old_email)
    is_earlier = sa.and_(email_changes.c.user_id == user_id, email_changes.c.confirmed_at.is_not(None), ~is_other)
    statement = sa.select(email_changes.c.old_email).where(is_earlier).distinct().limit(EARLIER_EMAILS)
    return list((await conn.execute(statement)).scalars())


async def has_access(conn: AsyncConnection, user_id: uuid.UUID) -> bool:
    """Return whether a platform may still honour tokens of the user."""
    is_open = sa.exists().where(connections.c.user_id == user_id, connections.c.state.in_(sorted(_OPEN)))
    is_pending = sa.exists().where(pending_revocations.c.user_id == user_id)
    return bool(await conn.scalar(sa.select(sa.or_(is_open, is_pending))))


async def give_up_revocations(conn: AsyncConnection, user_id: uuid.UUID) -> int:
    """Delete tokens that no platform has revoked; return how many."""
    return (await conn.execute(sa.delete(pending_revocations).where(pending_revocations.c.user_id == user_id))).rowcount


async def has_unsent(conn: AsyncConnection, erasing: Erasing) -> bool:
    """Return whether the outbox has a message that names the user."""
    outbox = schema.outbox
    payload = sa.func.encode(outbox.c.payload, "escape")
    mentions = [sa.func.strpos(payload, text) > 0 for text in (str(erasing.user_id), *erasing.emails)]
    in_subject = sa.func.strpos(outbox.c.subject, str(erasing.user_id)) > 0
    return bool(await conn.scalar(sa.select(sa.exists().where(sa.or_(in_subject, *mentions)))))


async def delete_events(conn: AsyncConnection, user_id: uuid.UUID, *, limit: int) -> int:
    """Delete at most `limit` security events of an account that is being erased; return how many."""
    events = security_events
    batch = sa.select(events.c.event_id).where(events.c.user_id == user_id).limit(limit)
    return (await conn.execute(sa.delete(events).where(events.c.event_id.in_(batch)))).rowcount


def attempts_at(email: str) -> sa.Delete:
    """Return the statement that deletes the events of strangers about an address."""
    return sa.delete(security_events).where(audit.IS_ATTEMPT, security_events.c.details["email"].astext == email)


async def erase(conn: AsyncConnection, erasing: Erasing) -> None:
    """Delete the account and all rows that name the user. What the user did to others stays, without the user's id."""
    user_id = erasing.user_id
    events = security_events
    await conn.execute(sa.delete(events).where(events.c.user_id == user_id))
    await conn.execute(attempts_at(erasing.emails[0]))
    statement = sa.update(events).where(events.c.actor_id == user_id)
    await conn.execute(statement.values(actor_id=None, session_id=None))
    # Whole parts of keys only: a longer address that contains this one is another account's.
    key = ":" + login_failures.c.key + "|"
    names_user = [sa.func.strpos(key, f":{text}|") > 0 for text in (str(user_id), *erasing.emails)]
    await conn.execute(sa.delete(login_failures).where(sa.or_(*names_user)))
    # Foreign keys delete sessions, factors, passkeys, links, connections and their secrets.
    await conn.execute(sa.delete(users).where(users.c.user_id == user_id))


async def _set(conn: AsyncConnection, user_id: uuid.UUID, **values: object) -> None:
    await conn.execute(sa.update(users).where(users.c.user_id == user_id).values(**values))
