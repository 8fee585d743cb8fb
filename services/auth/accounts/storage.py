"""Accounts in schema `auth`. Each query works in the caller's transaction; the database's clock is the only one."""

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
    _HAS_SECOND_FACTOR.label("has_second_factor"),
    (NOW - users.c.created_at).label("age"),
)
_INSERTED = (*USER[:-2], sa.literal(False).label("has_second_factor"), USER[-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A user with what only this service may know."""

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
    """Make a user, or raise `EmailTaken`, after which the transaction is of no more use."""
    statement = _insertion(email, name, role, password_hash, is_verified=is_verified)
    try:
        return user((await conn.execute(statement.returning(*_INSERTED))).one())
    except exc.IntegrityError as error:
        if postgres.violated_constraint(error) == "users_email_key":
            raise domain.EmailTaken(field="email") from error
        raise


async def insert_user_unless_taken(
    conn: AsyncConnection, *, email: str, name: str, role: domain.Role, password_hash: str
) -> domain.User | None:
    """Make a user; None if the address has an account, and then the transaction goes on."""
    statement = _insertion(email, name, role, password_hash).on_conflict_do_nothing(constraint="users_email_key")
    row = (await conn.execute(statement.returning(*_INSERTED))).one_or_none()
    return user(row) if row else None


def _insertion(
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
    """Find the account of a normalised address."""
    return await _find(conn, users.c.email == email)


async def get_account(conn: AsyncConnection, user_id: uuid.UUID) -> Account | None:
    """Find an account."""
    return await _find(conn, users.c.user_id == user_id)


async def _find(conn: AsyncConnection, which: sa.ColumnElement[bool]) -> Account | None:
    found = await conn.execute(sa.select(*USER, users.c.password_hash, users.c.password_changed_at).where(which))
    if (row := found.one_or_none()) is None:
        return None
    return Account(user=user(row), password_hash=row.password_hash, password_changed_at=row.password_changed_at)


async def list_users(
    conn: AsyncConnection, *, email_prefix: str, before: tuple[datetime, uuid.UUID] | None, limit: int
) -> Sequence[domain.User]:
    """List accounts whose address begins so, newest first, those before a position."""
    statement = sa.select(*USER).where(users.c.email.startswith(email_prefix.lower(), autoescape=True))
    if before is not None:
        statement = statement.where(sa.tuple_(users.c.created_at, users.c.user_id) < sa.tuple_(*before))
    order = (users.c.created_at.desc(), users.c.user_id.desc())
    return [user(row) for row in await conn.execute(statement.order_by(*order).limit(limit))]


async def lock_user(conn: AsyncConnection, user_id: uuid.UUID) -> None:
    """Let what changes one account come one after the other, until the transaction ends.

    What is known of the account is to be read after this, by a statement of its own: this one may have waited.
    """
    await lock_users(conn, [user_id])


async def lock_users(conn: AsyncConnection, user_ids: Collection[uuid.UUID]) -> None:
    """Lock several accounts; everybody does so in the same order."""
    wanted = sa.select(users.c.user_id).where(users.c.user_id.in_(user_ids)).order_by(users.c.user_id)
    await conn.execute(wanted.with_for_update(key_share=True))


async def replace_password_hash(conn: AsyncConnection, user_id: uuid.UUID, *, old: str, new: str) -> None:
    """Store another hash of the same password, unless the password has changed meanwhile."""
    is_same = sa.and_(users.c.user_id == user_id, users.c.password_hash == old)
    await conn.execute(sa.update(users).where(is_same).values(password_hash=new))


async def set_password(conn: AsyncConnection, user_id: uuid.UUID, password_hash: str) -> None:
    """Store a new password's hash."""
    await _set(conn, user_id, password_hash=password_hash, password_changed_at=NOW)


async def set_role(conn: AsyncConnection, user_id: uuid.UUID, role: domain.Role) -> None:
    """Change what a user may do."""
    await _set(conn, user_id, role=role.value)


async def set_disabled(conn: AsyncConnection, user_id: uuid.UUID, *, is_disabled: bool) -> None:
    """Close or open an account."""
    await _set(conn, user_id, disabled_at=NOW if is_disabled else None)


async def set_verified(conn: AsyncConnection, user_id: uuid.UUID) -> None:
    """Note that the user receives mail at the address; the first time counts."""
    await _set(conn, user_id, email_verified_at=sa.func.coalesce(users.c.email_verified_at, NOW))


async def _set(conn: AsyncConnection, user_id: uuid.UUID, **values: Any) -> None:
    await conn.execute(sa.update(users).where(users.c.user_id == user_id).values(**values))


async def delete_some(
    conn: AsyncConnection, table: sa.Table, key: sa.Column[Any], which: sa.ColumnElement[bool], limit: int
) -> int:
    """Delete a bounded number of rows, leaving alone what others hold; gives how many."""
    some = sa.select(key).where(which).limit(limit).with_for_update(skip_locked=True)
    return (await conn.execute(sa.delete(table).where(key.in_(some)))).rowcount


def user(row: sa.Row[*tuple[Any, ...]], prefix: str = "") -> domain.User:
    """Read the columns `USER` of a row."""
    values = {column.name: getattr(row, f"{prefix}{column.name}") for column in USER}
    values["role"] = domain.Role(values["role"])
    return domain.User(**values)
