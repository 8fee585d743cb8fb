"""Queries on accounts. Each runs in the caller's transaction; all times are the database's."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis import ids, postgres
from services.auth import domain
from services.auth.schema import second_factors, users

NOW = sa.func.now()


def not_before(column: sa.ColumnElement[datetime]) -> sa.ColumnElement[datetime]:
    """Return the present time, or that of `column` if it is later.

    A stored time lies in the future if its transaction began after this one, or if it was stored before a failover to a
    server whose clock is behind.
    """
    return sa.func.greatest(NOW, column)


_HAS_SECOND_FACTOR = (
    sa.exists()
    .where(second_factors.c.user_id == users.c.user_id, second_factors.c.enabled_at.is_not(None))
    .correlate(users)
)
USER: tuple[sa.ColumnElement[Any], ...] = (
    users.c.user_id,
    users.c.email,
    users.c.name,
    users.c.role,
    users.c.created_at,
    users.c.email_verified_at,
    users.c.disabled_at,
    users.c.time_zone,
    users.c.theme,
    users.c.job_emails,
    users.c.page_notices,
    users.c.muted_notices,
    users.c.deletion_due_at,
    _HAS_SECOND_FACTOR.label("has_second_factor"),
    (NOW - users.c.created_at).label("age"),
)
INSERTED = tuple(
    sa.literal(False).label(column.name) if column.name == "has_second_factor" else column for column in USER
)
"""`USER` of an inserted row, which RETURNING cannot look up in other tables."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A user with the fields that never leave this service."""

    user: domain.User
    password_hash: str
    password_changed_at: datetime


async def insert_user(
    conn: AsyncConnection,
    *,
    email: str,
    name: str,
    role: domain.Role,
    password_hash: str,
    is_verified: bool = False,
) -> domain.User:
    """Insert a user. Raises `EmailTaken`, which aborts the transaction."""
    statement = _insert_statement(email, name, role, password_hash, is_verified=is_verified)
    try:
        return user((await conn.execute(statement.returning(*INSERTED))).one())
    except exc.IntegrityError as error:
        if postgres.violated_constraint(error) == "users_email_key":
            raise domain.EmailTaken(field="email") from error
        raise


async def insert_user_unless_taken(
    conn: AsyncConnection, *, email: str, name: str, role: domain.Role, password_hash: str
) -> domain.User | None:
    """Insert a user; None if the address has an account, and the transaction stays usable."""
    statement = _insert_statement(email, name, role, password_hash).on_conflict_do_nothing(constraint="users_email_key")
    row = (await conn.execute(statement.returning(*INSERTED))).one_or_none()
    return user(row) if row else None


def _insert_statement(
    email: str, name: str, role: domain.Role, password_hash: str, *, is_verified: bool = False
) -> postgresql.Insert:
    return postgresql.insert(users).values(
        user_id=ids.uuid7(),
        email=email,
        name=name,
        role=role.value,
        password_hash=password_hash,
        email_verified_at=NOW if is_verified else None,
    )


async def find_account(conn: AsyncConnection, email: str) -> Account | None:
    """Find the account of a normalized address."""
    return await _find(conn, users.c.email == email)


async def get_account(conn: AsyncConnection, user_id: uuid.UUID) -> Account | None:
    """Find an account by its id."""
    return await _find(conn, users.c.user_id == user_id)


async def _find(conn: AsyncConnection, condition: sa.ColumnElement[bool]) -> Account | None:
    statement = sa.select(*USER, users.c.password_hash, users.c.password_changed_at).where(condition)
    if (row := (await conn.execute(statement)).one_or_none()) is None:
        return None
    return Account(user=user(row), password_hash=row.password_hash, password_changed_at=row.password_changed_at)


async def has_admin(conn: AsyncConnection) -> bool:
    """Return whether an admin exists who can sign in."""
    is_admin = sa.exists().where(users.c.role == sa.literal_column("'admin'"), users.c.disabled_at.is_(None))
    return bool(await conn.scalar(sa.select(is_admin)))


async def get_users(conn: AsyncConnection, user_ids: Collection[uuid.UUID]) -> Sequence[domain.User]:
    """Find the accounts among these ids."""
    return [user(row) for row in await conn.execute(sa.select(*USER).where(users.c.user_id.in_(user_ids)))]


async def list_users(
    conn: AsyncConnection,
    *,
    email_prefix: str,
    is_deleting: bool,
    start: tuple[datetime, uuid.UUID] | None,
    is_ascending: bool,
    limit: int,
) -> Sequence[domain.User]:
    """List accounts by prefix of the address from a position on; `is_deleting`: only those to be deleted."""
    statement = sa.select(*USER).where(*_matches(email_prefix, is_deleting=is_deleting))
    key = (users.c.created_at, users.c.user_id)
    if start is not None:
        position, of_start = sa.tuple_(*key), sa.tuple_(*start)
        statement = statement.where(position > of_start if is_ascending else position < of_start)
    order = key if is_ascending else [column.desc() for column in key]
    return [user(row) for row in await conn.execute(statement.order_by(*order).limit(limit))]


async def count_users(conn: AsyncConnection, *, email_prefix: str, is_deleting: bool, limit: int) -> int:
    """Count the accounts of a list, at most `limit`."""
    first_users = (
        sa.select(users.c.user_id).where(*_matches(email_prefix, is_deleting=is_deleting)).limit(limit).subquery()
    )
    return int((await conn.execute(sa.select(sa.func.count()).select_from(first_users))).scalar_one())


def _matches(email_prefix: str, *, is_deleting: bool) -> list[sa.ColumnElement[bool]]:
    # No condition without a prefix: the count of all accounts needs no row of the table.
    prefix = [users.c.email.startswith(email_prefix.lower(), autoescape=True)] if email_prefix else []
    return [*prefix, users.c.deletion_id.is_not(None)] if is_deleting else prefix


async def lock_user(conn: AsyncConnection, user_id: uuid.UUID) -> None:
    """Lock an account until the transaction ends.

    Read the account afterwards with a separate statement: this one may have waited, and its snapshot is older.
    """
    await lock_users(conn, [user_id])


async def lock_users(conn: AsyncConnection, user_ids: Collection[uuid.UUID]) -> None:
    """Lock several accounts in the order of their ids, which prevents deadlocks."""
    statement = sa.select(users.c.user_id).where(users.c.user_id.in_(user_ids)).order_by(users.c.user_id)
    await conn.execute(statement.with_for_update(key_share=True))


async def replace_password_hash(conn: AsyncConnection, user_id: uuid.UUID, *, old: str, new: str) -> None:
    """Replace the hash of an unchanged password; do nothing if the password has changed meanwhile."""
    is_unchanged = sa.and_(users.c.user_id == user_id, users.c.password_hash == old)
    await conn.execute(sa.update(users).where(is_unchanged).values(password_hash=new))


async def set_password(conn: AsyncConnection, user_id: uuid.UUID, password_hash: str) -> None:
    """Store the hash of a new password."""
    await _set(conn, user_id, password_hash=password_hash, password_changed_at=NOW)


async def set_role(conn: AsyncConnection, user_id: uuid.UUID, role: domain.Role) -> None:
    await _set(conn, user_id, role=role.value)


async def set_disabled(conn: AsyncConnection, user_id: uuid.UUID, *, is_disabled: bool) -> None:
    await _set(conn, user_id, disabled_at=NOW if is_disabled else None)


async def set_verified(conn: AsyncConnection, user_id: uuid.UUID) -> None:
    """Mark the address as verified; the time of the first verification stays."""
    await _set(conn, user_id, email_verified_at=sa.func.coalesce(users.c.email_verified_at, NOW))


async def set_profile(
    conn: AsyncConnection, user_id: uuid.UUID, *, name: str, time_zone: str, theme: domain.Theme
) -> None:
    """Set the name, the time zone and the theme of a user."""
    await _set(conn, user_id, name=name, time_zone=time_zone, theme=theme.value)


async def _set(conn: AsyncConnection, user_id: uuid.UUID, **values: Any) -> None:
    await conn.execute(sa.update(users).where(users.c.user_id == user_id).values(**values))


def user(row: Any, prefix: str = "") -> domain.User:
    """Build a user from the columns `USER` of a row."""
    values = {column.name: getattr(row, f"{prefix}{column.name}") for column in USER}
    values["role"] = domain.Role(values["role"])
    values["theme"] = domain.Theme(values["theme"])
    values["job_emails"] = domain.JobEmails(values["job_emails"])
    # A later release may have stored categories that this one does not know.
    values["muted_notices"] = frozenset(
        category for category in domain.NoticeCategory if category in values["muted_notices"]
    )
    return domain.User(**values)
