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
from services.auth.accounts import storage as account_storage
from services.auth.accounts.storage import NOW
from services.auth.passkeys.domain import CEREMONY_LIFETIME, Made, Passkey, Purpose, Signed
from services.auth.schema import passkey_challenges, passkeys


async def list_passkeys(conn: AsyncConnection, user_id: uuid.UUID) -> Sequence[Passkey]:
    """List the passkeys of a user, oldest first."""
    mine = sa.select(passkeys).where(passkeys.c.user_id == user_id).order_by(passkeys.c.passkey_id)
    return [_passkey(row) for row in await conn.execute(mine)]


async def find_passkey(conn: AsyncConnection, credential_id: bytes) -> Passkey | None:
    """Find a passkey by the id that its authenticator gave it."""
    found = await conn.execute(sa.select(passkeys).where(passkeys.c.credential_id == credential_id))
    row = found.one_or_none()
    return _passkey(row) if row else None


async def insert_passkey(conn: AsyncConnection, user_id: uuid.UUID, made: Made, name: str) -> Passkey | None:
    """Keep a passkey; None if somebody has it already."""
    kept = {**dataclasses.asdict(made), "transports": list(made.transports)}
    statement = postgresql.insert(passkeys).values(passkey_id=ids.uuid7(), user_id=user_id, name=name, **kept)
    unless = statement.on_conflict_do_nothing(constraint="passkeys_credential_id_key").returning(passkeys)
    row = (await conn.execute(unless)).one_or_none()
    return _passkey(row) if row else None


async def rename_passkey(conn: AsyncConnection, user_id: uuid.UUID, passkey_id: uuid.UUID, name: str) -> Passkey | None:
    """Give a passkey of a user another name; None if there is none such."""
    statement = sa.update(passkeys).where(_of(user_id, passkey_id)).values(name=name).returning(passkeys)
    row = (await conn.execute(statement)).one_or_none()
    return _passkey(row) if row else None


async def note_use(conn: AsyncConnection, passkey: Passkey, signed: Signed) -> None:
    """Note what a passkey's authenticator said of it when it was used. The caller has locked the account."""
    used = {"sign_count": signed.sign_count, "is_synced": signed.is_synced, "last_used_at": NOW}
    await conn.execute(sa.update(passkeys).where(_of(passkey.user_id, passkey.passkey_id)).values(used))


async def delete_passkey(conn: AsyncConnection, user_id: uuid.UUID, passkey_id: uuid.UUID) -> str | None:
    """Forget a passkey of a user; gives its name, None if there is none such."""
    deleted = await conn.execute(sa.delete(passkeys).where(_of(user_id, passkey_id)).returning(passkeys.c.name))
    name: str | None = deleted.scalar_one_or_none()
    return name


async def delete_passkeys(conn: AsyncConnection, user_id: uuid.UUID) -> int:
    """Forget all passkeys of a user; gives how many."""
    return (await conn.execute(sa.delete(passkeys).where(passkeys.c.user_id == user_id))).rowcount


async def begin_ceremony(
    conn: AsyncConnection, challenge: bytes, purpose: Purpose, session_id: uuid.UUID | None
) -> datetime:
    """Keep a challenge, in the place of one that the session has for the same purpose; gives when it ends."""
    values = {"challenge": challenge, "expires_at": NOW + CEREMONY_LIFETIME}
    statement = postgresql.insert(passkey_challenges).values(purpose=purpose.value, session_id=session_id, **values)
    again = statement.on_conflict_do_update(constraint="passkey_challenges_one_of_session", set_=values)
    ends: datetime = (await conn.execute(again.returning(passkey_challenges.c.expires_at))).scalar_one()
    return ends


async def spend_ceremony(
    conn: AsyncConnection, challenge: bytes, purpose: Purpose, session_id: uuid.UUID | None
) -> bool:
    """Take a challenge out of the world; False if it did not count, or not for this."""
    mine = sa.and_(
        passkey_challenges.c.challenge == challenge,
        passkey_challenges.c.purpose == purpose.value,
        passkey_challenges.c.session_id.is_not_distinct_from(session_id),
        passkey_challenges.c.expires_at > NOW,
    )
    return (await conn.execute(sa.delete(passkey_challenges).where(mine))).rowcount == 1


async def delete_ended_ceremonies(conn: AsyncConnection, *, limit: int) -> int:
    """Delete challenges that nobody answered in time; gives how many."""
    over = passkey_challenges.c.expires_at < NOW
    return await account_storage.delete_some(conn, passkey_challenges, passkey_challenges.c.challenge, over, limit)


def _of(user_id: uuid.UUID, passkey_id: uuid.UUID) -> sa.ColumnElement[bool]:
    return sa.and_(passkeys.c.user_id == user_id, passkeys.c.passkey_id == passkey_id)


def _passkey(row: sa.Row[*tuple[Any, ...]]) -> Passkey:
    return Passkey(**{**row._mapping, "transports": tuple(row.transports)})
