"""Passkeys and their challenges in schema `auth`. Each query works in the caller's transaction."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis import ids
from services.auth.passkeys.domain import (
    CEREMONY_LIFETIME,
    Passkey,
    Purpose,
    VerifiedAssertion,
    VerifiedRegistration,
)
from services.auth.schema import passkey_challenges, passkeys
from services.auth.storage import NOW


async def list_passkeys(conn: AsyncConnection, user_id: uuid.UUID) -> Sequence[Passkey]:
    """List the passkeys of a user, oldest first."""
    statement = sa.select(passkeys).where(passkeys.c.user_id == user_id).order_by(passkeys.c.passkey_id)
    return [_passkey(row) for row in await conn.execute(statement)]


async def find_passkey(conn: AsyncConnection, credential_id: bytes) -> Passkey | None:
    """Find a passkey by the credential id that its authenticator chose."""
    rows = await conn.execute(sa.select(passkeys).where(passkeys.c.credential_id == credential_id))
    row = rows.one_or_none()
    return _passkey(row) if row else None


async def insert_passkey(
    conn: AsyncConnection, user_id: uuid.UUID, verified: VerifiedRegistration, name: str
) -> Passkey | None:
    """Insert a passkey; None if an account has it already."""
    values = {**dataclasses.asdict(verified), "transports": list(verified.transports)}
    statement = postgresql.insert(passkeys).values(passkey_id=ids.uuid7(), user_id=user_id, name=name, **values)
    statement = statement.on_conflict_do_nothing(constraint="passkeys_credential_id_key")
    row = (await conn.execute(statement.returning(passkeys))).one_or_none()
    return _passkey(row) if row else None


async def rename_passkey(conn: AsyncConnection, user_id: uuid.UUID, passkey_id: uuid.UUID, name: str) -> Passkey | None:
    """Rename a passkey of a user; None if it does not exist."""
    statement = sa.update(passkeys).where(_is_passkey(user_id, passkey_id)).values(name=name).returning(passkeys)
    row = (await conn.execute(statement)).one_or_none()
    return _passkey(row) if row else None


async def record_use(conn: AsyncConnection, passkey: Passkey, verified: VerifiedAssertion) -> None:
    """Update what the authenticator stated when it signed. The caller has locked the account."""
    values = {"sign_count": verified.sign_count, "is_synced": verified.is_synced, "last_used_at": NOW}
    await conn.execute(sa.update(passkeys).where(_is_passkey(passkey.user_id, passkey.passkey_id)).values(values))


async def delete_passkey(conn: AsyncConnection, user_id: uuid.UUID, passkey_id: uuid.UUID) -> str | None:
    """Delete a passkey of a user; return its name, None if it does not exist."""
    result = await conn.execute(sa.delete(passkeys).where(_is_passkey(user_id, passkey_id)).returning(passkeys.c.name))
    name: str | None = result.scalar_one_or_none()
    return name


async def delete_passkeys(conn: AsyncConnection, user_id: uuid.UUID) -> int:
    """Delete all passkeys of a user; return their number."""
    return (await conn.execute(sa.delete(passkeys).where(passkeys.c.user_id == user_id))).rowcount


async def begin_ceremony(
    conn: AsyncConnection, challenge: bytes, purpose: Purpose, session_id: uuid.UUID | None
) -> datetime:
    """Store a challenge, replacing the session's one of the same purpose; return when it expires."""
    values = {"challenge": challenge, "expires_at": NOW + CEREMONY_LIFETIME}
    statement = postgresql.insert(passkey_challenges).values(purpose=purpose.value, session_id=session_id, **values)
    statement = statement.on_conflict_do_update(constraint="passkey_challenges_one_of_session", set_=values)
    expires_at: datetime = (await conn.execute(statement.returning(passkey_challenges.c.expires_at))).scalar_one()
    return expires_at


async def spend_ceremony(
    conn: AsyncConnection, challenge: bytes, purpose: Purpose, session_id: uuid.UUID | None
) -> bool:
    """Delete a challenge; False if it has expired, or was for another purpose or session."""
    is_valid = sa.and_(
        passkey_challenges.c.challenge == challenge,
        passkey_challenges.c.purpose == purpose.value,
        passkey_challenges.c.session_id.is_not_distinct_from(session_id),
        passkey_challenges.c.expires_at > NOW,
    )
    return (await conn.execute(sa.delete(passkey_challenges).where(is_valid))).rowcount == 1


def _is_passkey(user_id: uuid.UUID, passkey_id: uuid.UUID) -> sa.ColumnElement[bool]:
    return sa.and_(passkeys.c.user_id == user_id, passkeys.c.passkey_id == passkey_id)


def _passkey(row: sa.Row[*tuple[Any, ...]]) -> Passkey:
    return Passkey(**{**row._mapping, "transports": tuple(row.transports)})
