"""Queries on changes of email addresses. Each runs in the caller's transaction; all times are the database's."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis import ids, postgres
from services.auth.schema import email_changes, users
from services.auth.storage import NOW, not_before

CONFIRM_WITHIN = timedelta(hours=24)
REVOCABLE_FOR = timedelta(days=7)
_IS_PENDING = sa.and_(email_changes.c.confirmed_at.is_(None), email_changes.c.expires_at > NOW)
_IS_REVOCABLE = email_changes.c.revocable_until > NOW


@dataclass(frozen=True, slots=True, kw_only=True)
class EmailChange:
    """A change of a user's address: pending until the new address confirms it, then revocable from the old one."""

    change_id: uuid.UUID
    user_id: uuid.UUID
    old_email: str
    new_email: str
    was_verified: bool
    """Whether the old address had proved that it belongs to the user; otherwise it cannot take the account back."""
    requested_at: datetime
    expires_at: datetime
    confirmed_at: datetime | None


_COLUMNS = [email_changes.c[name] for name in EmailChange.__slots__]


async def replace_pending(
    conn: AsyncConnection, user_id: uuid.UUID, *, old: str, new: str, was_verified: bool
) -> EmailChange:
    """Store a pending change in place of the previous one. The caller has locked the account."""
    await delete_pending(conn, user_id)
    statement = sa.insert(email_changes).values(
        change_id=ids.uuid7(),
        user_id=user_id,
        old_email=old,
        new_email=new,
        was_verified=was_verified,
        expires_at=NOW + CONFIRM_WITHIN,
        revocable_until=NOW + REVOCABLE_FOR,
    )
    return _change((await conn.execute(statement.returning(*_COLUMNS))).one())


async def delete_pending(conn: AsyncConnection, user_id: uuid.UUID) -> EmailChange | None:
    """Delete the pending change of a user; return it unless there was none, or it had expired."""
    of_user = sa.and_(email_changes.c.user_id == user_id, email_changes.c.confirmed_at.is_(None))
    statement = (
        sa.delete(email_changes)
        .where(of_user)
        .returning(*_COLUMNS, (email_changes.c.expires_at > NOW).label("is_valid"))
    )
    row = (await conn.execute(statement)).one_or_none()
    return _change(row) if row and row.is_valid else None


async def delete_pending_of_all_users(conn: AsyncConnection, *, limit: int) -> Sequence[EmailChange]:
    """Delete and return at most `limit` pending changes of any users; skip those of accounts that are locked."""
    batch = (
        sa.select(email_changes.c.change_id)
        .join(users, users.c.user_id == email_changes.c.user_id)
        .where(_IS_PENDING)
        .limit(limit)
        .with_for_update(key_share=True, skip_locked=True)
    )
    statement = sa.delete(email_changes).where(email_changes.c.change_id.in_(batch)).returning(*_COLUMNS)
    return [_change(row) for row in (await conn.execute(statement)).all()]


async def has_pending(conn: AsyncConnection) -> bool:
    return bool(await conn.scalar(sa.select(sa.exists().where(_IS_PENDING))))


async def count_revocable(conn: AsyncConnection, user_id: uuid.UUID) -> tuple[int, int]:
    """Return how many confirmed changes of a user can be revoked, and the seconds until the first no longer can."""
    wait = sa.func.min(email_changes.c.revocable_until) - NOW
    confirmed = sa.and_(email_changes.c.user_id == user_id, email_changes.c.confirmed_at.is_not(None), _IS_REVOCABLE)
    row = (await conn.execute(sa.select(sa.func.count(), wait).where(confirmed))).one()
    return row[0], int(row[1].total_seconds()) + 1 if row[1] else 0


async def find_pending(conn: AsyncConnection, user_id: uuid.UUID) -> EmailChange | None:
    return await _find(conn, email_changes.c.user_id == user_id, _IS_PENDING)


async def find_to_confirm(conn: AsyncConnection, token_hash: bytes) -> EmailChange | None:
    """Find the pending change of a link to the new address."""
    return await _find(conn, email_changes.c.confirm_hash == token_hash, _IS_PENDING)


async def find_to_revoke(conn: AsyncConnection, token_hash: bytes) -> EmailChange | None:
    """Find the change of a link to the old address, pending or confirmed."""
    is_alive = sa.or_(_IS_PENDING, sa.and_(email_changes.c.confirmed_at.is_not(None), email_changes.c.was_verified))
    return await _find(conn, email_changes.c.revoke_hash == token_hash, _IS_REVOCABLE, is_alive)


async def set_confirm_link(conn: AsyncConnection, change_id: uuid.UUID, token_hash: bytes) -> EmailChange | None:
    """Replace the link to the new address; None if the change is no longer pending."""
    return await _set(conn, change_id, _IS_PENDING, confirm_hash=token_hash)


async def set_revoke_link(conn: AsyncConnection, change_id: uuid.UUID, token_hash: bytes) -> EmailChange | None:
    """Replace the link to the old address; None if the change was replaced, cancelled or revoked."""
    return await _set(conn, change_id, _IS_REVOCABLE, revoke_hash=token_hash)


async def confirm(conn: AsyncConnection, change_id: uuid.UUID) -> None:
    """Mark a change as confirmed; its link to the new address is void."""
    confirmed_at = not_before(email_changes.c.requested_at)
    await _set(conn, change_id, _IS_PENDING, confirmed_at=confirmed_at, confirm_hash=None)


async def delete_since(conn: AsyncConnection, change: EmailChange) -> None:
    """Delete a change and the later ones of its user, with their links."""
    is_later = sa.and_(email_changes.c.user_id == change.user_id, email_changes.c.requested_at >= change.requested_at)
    await conn.execute(sa.delete(email_changes).where(is_later))


async def set_email(conn: AsyncConnection, user_id: uuid.UUID, email: str) -> bool:
    """Change the address of a user, which its owner has just proved; False if another account has it."""
    statement = sa.update(users).where(users.c.user_id == user_id).values(email=email, email_verified_at=NOW)
    try:
        async with conn.begin_nested():
            await conn.execute(statement)
    except exc.IntegrityError as error:
        if postgres.violated_constraint(error) != "users_email_key":
            raise
        return False
    return True


async def _find(conn: AsyncConnection, *conditions: sa.ColumnElement[bool]) -> EmailChange | None:
    row = (await conn.execute(sa.select(*_COLUMNS).where(*conditions))).one_or_none()
    return _change(row) if row else None


async def _set(
    conn: AsyncConnection, change_id: uuid.UUID, condition: sa.ColumnElement[bool], **values: Any
) -> EmailChange | None:
    statement = sa.update(email_changes).where(email_changes.c.change_id == change_id, condition).values(**values)
    row = (await conn.execute(statement.returning(*_COLUMNS))).one_or_none()
    return _change(row) if row else None


def _change(row: sa.Row[*tuple[Any, ...]]) -> EmailChange:
    return EmailChange(**{column.name: getattr(row, column.name) for column in _COLUMNS})
