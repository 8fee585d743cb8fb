"""Key rotation: re-encrypts with the newest key what older keys encrypted, so that old keys can be removed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

import worker
from services.auth.encryption.keyring import DecryptionFailed, Keyring

logger = logging.getLogger(__name__)

BATCH = 100
KIND = "auth.rotate-keys"
SCHEDULE = worker.Schedule(KIND, kind=KIND, cron="17 * * * *", overlap="skip")


@dataclass(frozen=True, slots=True, kw_only=True)
class EncryptedColumn:
    """A column that a keyring encrypts."""

    column: sa.Column[bytes]
    key: tuple[sa.Column[Any], ...]
    """The primary key of its table."""
    associated_data: Callable[[Any], str]
    """Returns the associated data of a row; the row has the primary key's columns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The counts of a pass over all columns."""

    reencrypted: int
    lost: int
    """Secrets that do not decrypt: their key is no longer in the keyring."""


async def rotate_keys(
    engine: AsyncEngine, keyring: Keyring, columns: Sequence[EncryptedColumn], *, batch: int = BATCH
) -> Outcome:
    """Re-encrypt what older keys encrypted. Can be interrupted at any point and run while everything else works."""
    reencrypted = lost = 0
    for encrypted in columns:
        after: tuple[Any, ...] | None = None
        while True:
            rows = await _list_outdated(engine, keyring, encrypted, after=after, limit=batch)
            for row in rows:
                try:
                    reencrypted += await _reencrypt(engine, keyring, encrypted, row)
                except DecryptionFailed:
                    lost += 1
                    logger.exception("secret cannot be decrypted", extra={"column": str(encrypted.column)})
            if len(rows) < batch:
                break
            after = tuple(rows[-1])[:-1]
    return Outcome(reencrypted=reencrypted, lost=lost)


def kind(engine: AsyncEngine, keyring: Keyring, columns: Sequence[EncryptedColumn]) -> worker.Kind[Any]:
    """Return the job kind that the schedule submits hourly."""
    return worker.Kind(KIND, partial(_handle, engine, keyring, columns), retention=timedelta(days=1))


async def _handle(
    engine: AsyncEngine, keyring: Keyring, columns: Sequence[EncryptedColumn], context: worker.Context
) -> dict[str, int]:
    outcome = await rotate_keys(engine, keyring, columns)
    if outcome.lost:
        message = f"{outcome.lost} secrets cannot be decrypted: their key is no longer in ENCRYPTION_KEYS."
        raise worker.JobFailed("encryption_key_missing", message, retryable=False)
    return {"reencrypted": outcome.reencrypted}


async def _list_outdated(
    engine: AsyncEngine,
    keyring: Keyring,
    encrypted: EncryptedColumn,
    *,
    after: tuple[Any, ...] | None,
    limit: int,
) -> Sequence[Any]:
    is_outdated = sa.func.substring(encrypted.column, 1, len(keyring.newest_prefix)) != keyring.newest_prefix
    statement = sa.select(*encrypted.key, encrypted.column).where(is_outdated)
    if after is not None:
        statement = statement.where(sa.tuple_(*encrypted.key) > sa.tuple_(*after))
    async with engine.connect() as conn:
        return (await conn.execute(statement.order_by(*encrypted.key).limit(limit))).all()


async def _reencrypt(engine: AsyncEngine, keyring: Keyring, encrypted: EncryptedColumn, row: Any) -> int:
    """Re-encrypt one value unless it has changed meanwhile; return the number of rows updated."""
    old: bytes = row[-1]
    bound_to = encrypted.associated_data(row)
    is_unchanged = [column == value for column, value in zip(encrypted.key, row, strict=False)]
    secret = keyring.decrypt(old, associated_data=bound_to)
    new_values = {encrypted.column.name: keyring.encrypt(secret, associated_data=bound_to)}
    async with engine.begin() as conn:
        statement = sa.update(encrypted.column.table).where(*is_unchanged, encrypted.column == old).values(new_values)
        return (await conn.execute(statement)).rowcount
