"""Second factors, recovery codes and challenges in schema `auth`. The caller has locked the account."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from services.auth.encryption.key_rotation import EncryptedColumn
from services.auth.schema import login_challenges, recovery_codes, second_factors
from services.auth.second_factor import codes
from services.auth.storage import NOW

CHALLENGE_LIFETIME = timedelta(minutes=5)
CHALLENGE_TRIES = 5
CONFIRM_WITHIN = timedelta(minutes=10)
ENCRYPTED_SECRET = EncryptedColumn(
    column=second_factors.c.sealed_secret,
    key=(second_factors.c.user_id,),
    associated_data=lambda row: codes.associated_data(row.user_id),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Factor:
    """An authenticator app: pending, or enabled since `enabled_at`."""

    user_id: uuid.UUID
    sealed_secret: bytes
    enabled_at: datetime | None
    is_pending: bool
    """Whether it can still be confirmed."""
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """A sign-in that lacks the second factor."""

    user_id: uuid.UUID
    is_remembered: bool


async def get_factor(conn: AsyncConnection, user_id: uuid.UUID) -> Factor | None:
    """Find the second factor of an account."""
    factor = second_factors
    is_pending = sa.func.coalesce(factor.c.confirm_before > NOW, sa.false()).label("is_pending")
    statement = sa.select(
        factor.c.user_id,
        factor.c.sealed_secret,
        factor.c.enabled_at,
        is_pending,
        sa.func.clock_timestamp().label("now"),  # not the transaction's start: it may have waited for its lock
    ).where(factor.c.user_id == user_id)
    row = (await conn.execute(statement)).one_or_none()
    return Factor(**row._mapping) if row else None


async def begin_factor(conn: AsyncConnection, user_id: uuid.UUID, ciphertext: bytes) -> datetime:
    """Store a pending secret, replacing an earlier pending one; return when it expires."""
    values = {"sealed_secret": ciphertext, "confirm_before": NOW + CONFIRM_WITHIN}
    statement = postgresql.insert(second_factors).values(user_id=user_id, **values)
    statement = statement.on_conflict_do_update(
        index_elements=["user_id"], set_=values, where=second_factors.c.enabled_at.is_(None)
    )
    expires_at: datetime = (await conn.execute(statement.returning(second_factors.c.confirm_before))).scalar_one()
    return expires_at


async def enable_factor(conn: AsyncConnection, user_id: uuid.UUID, *, step: int) -> bool:
    """Enable a pending secret and spend the step of its confirmation; False if none is pending."""
    is_pending = sa.and_(second_factors.c.user_id == user_id, second_factors.c.confirm_before > NOW)
    values = {"enabled_at": NOW, "confirm_before": None, "last_step": step}
    return (await conn.execute(sa.update(second_factors).where(is_pending).values(values))).rowcount == 1


async def spend_step(conn: AsyncConnection, user_id: uuid.UUID, step: int) -> bool:
    """Spend the code of a step; False if it or a later one is spent already."""
    is_unspent = sa.and_(second_factors.c.user_id == user_id, second_factors.c.last_step < step)
    return (await conn.execute(sa.update(second_factors).where(is_unspent).values(last_step=step))).rowcount == 1


async def delete_factor(conn: AsyncConnection, user_id: uuid.UUID) -> bool:
    """Delete a second factor with its recovery codes; return whether there was one."""
    result = await conn.execute(sa.delete(second_factors).where(second_factors.c.user_id == user_id))
    return result.rowcount == 1


async def replace_recovery_codes(conn: AsyncConnection, user_id: uuid.UUID, hashes: Collection[bytes]) -> None:
    await conn.execute(sa.delete(recovery_codes).where(recovery_codes.c.user_id == user_id))
    await conn.execute(
        sa.insert(recovery_codes), [{"user_id": user_id, "code_hash": code_hash} for code_hash in hashes]
    )


async def spend_recovery_code(conn: AsyncConnection, user_id: uuid.UUID, code_hash: bytes) -> bool:
    """Spend a recovery code; False if it does not exist or is spent already."""
    is_unspent = sa.and_(
        recovery_codes.c.user_id == user_id, recovery_codes.c.code_hash == code_hash, recovery_codes.c.used_at.is_(None)
    )
    return (await conn.execute(sa.update(recovery_codes).where(is_unspent).values(used_at=NOW))).rowcount == 1


async def count_recovery_codes(conn: AsyncConnection, user_id: uuid.UUID) -> int:
    """Count the unspent recovery codes."""
    is_unspent = sa.and_(recovery_codes.c.user_id == user_id, recovery_codes.c.used_at.is_(None))
    return int(await conn.scalar(sa.select(sa.func.count()).select_from(recovery_codes).where(is_unspent)) or 0)


async def insert_challenge(
    conn: AsyncConnection, user_id: uuid.UUID, *, challenge_hash: bytes, is_remembered: bool
) -> datetime:
    """Insert a challenge; return when it expires."""
    statement = sa.insert(login_challenges).values(
        challenge_hash=challenge_hash,
        user_id=user_id,
        is_remembered=is_remembered,
        expires_at=NOW + CHALLENGE_LIFETIME,
    )
    expires_at: datetime = (await conn.execute(statement.returning(login_challenges.c.expires_at))).scalar_one()
    return expires_at


async def find_challenged_user(conn: AsyncConnection, challenge_hash: bytes) -> uuid.UUID | None:
    """Return the user of a challenge, for locking the account; None if it does not exist."""
    is_challenge = login_challenges.c.challenge_hash == challenge_hash
    return (await conn.execute(sa.select(login_challenges.c.user_id).where(is_challenge))).scalar_one_or_none()


async def try_challenge(conn: AsyncConnection, challenge_hash: bytes) -> Challenge | None:
    """Count a try; None if the challenge has expired, was used, or has no tries left."""
    is_open = sa.and_(
        login_challenges.c.challenge_hash == challenge_hash,
        login_challenges.c.used_at.is_(None),
        login_challenges.c.expires_at > NOW,
        login_challenges.c.tries < CHALLENGE_TRIES,
    )
    statement = sa.update(login_challenges).where(is_open).values(tries=login_challenges.c.tries + 1)
    rows = await conn.execute(statement.returning(login_challenges.c.user_id, login_challenges.c.is_remembered))
    row = rows.one_or_none()
    return Challenge(user_id=row.user_id, is_remembered=row.is_remembered) if row else None


async def use_challenge(conn: AsyncConnection, challenge_hash: bytes) -> None:
    """Mark a challenge as answered."""
    is_challenge = login_challenges.c.challenge_hash == challenge_hash
    await conn.execute(sa.update(login_challenges).where(is_challenge).values(used_at=NOW))


async def void_challenges(conn: AsyncConnection, user_id: uuid.UUID) -> None:
    """Delete the challenges of an account, because its credentials have changed."""
    await conn.execute(sa.delete(login_challenges).where(login_challenges.c.user_id == user_id))
