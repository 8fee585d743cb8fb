"""Secrets at rest that an older key sealed are sealed again by the newest, so that old keys can be taken out of the ring."""

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
from services.auth import codes, sealing
from services.auth.schema import second_factors

logger = logging.getLogger(__name__)

BATCH = 100
SCHEDULE = worker.Schedule("auth.reseal", kind="auth.reseal", cron="17 * * * *", overlap="skip")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """A column that holds what a ring sealed."""

    column: sa.Column[bytes]
    key: tuple[sa.Column[Any], ...]
    """The primary key of its table."""
    place: Callable[[Any], str]
    """Gives for a row, which has the key, the place for which it was sealed."""


SECOND_FACTORS = Sealed(
    column=second_factors.c.sealed_secret,
    key=(second_factors.c.user_id,),
    place=lambda row: codes.place(row.user_id),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a pass over all columns did."""

    resealed: int
    lost: int
    """Secrets whose key is no longer in the ring."""


async def reseal(engine: AsyncEngine, ring: sealing.Ring, columns: Sequence[Sealed], *, batch: int = BATCH) -> Outcome:
    """Seal again what an older key sealed. May stop anywhere and begin again, beside everything else."""
    resealed = lost = 0
    for sealed in columns:
        after: tuple[Any, ...] | None = None
        while True:
            rows = await _outdated(engine, ring, sealed, after=after, limit=batch)
            for row in rows:
                try:
                    resealed += await _reseal(engine, ring, sealed, row)
                except sealing.CannotOpen:
                    lost += 1
                    logger.exception("a secret cannot be opened", extra={"column": str(sealed.column)})
            if len(rows) < batch:
                break
            after = tuple(rows[-1])[:-1]
    return Outcome(resealed=resealed, lost=lost)


def kind(engine: AsyncEngine, ring: sealing.Ring, columns: Sequence[Sealed]) -> worker.Kind[Any]:
    """What the worker serves."""
    return worker.Kind("auth.reseal", partial(_handle, engine, ring, columns), retention=timedelta(days=1))


async def _handle(
    engine: AsyncEngine, ring: sealing.Ring, columns: Sequence[Sealed], context: worker.Context
) -> dict[str, int]:
    outcome = await reseal(engine, ring, columns)
    if outcome.lost:
        message = f"{outcome.lost} secrets cannot be opened: their key is no longer in ENCRYPTION_KEYS."
        raise worker.JobFailed("sealing_key_missing", message, retryable=False)
    return {"resealed": outcome.resealed}


async def _outdated(
    engine: AsyncEngine, ring: sealing.Ring, sealed: Sealed, *, after: tuple[Any, ...] | None, limit: int
) -> Sequence[Any]:
    is_outdated = sa.func.substring(sealed.column, 1, len(ring.mark)) != ring.mark
    statement = sa.select(*sealed.key, sealed.column).where(is_outdated)
    if after is not None:
        statement = statement.where(sa.tuple_(*sealed.key) > sa.tuple_(*after))
    async with engine.connect() as conn:
        return (await conn.execute(statement.order_by(*sealed.key).limit(limit))).all()


async def _reseal(engine: AsyncEngine, ring: sealing.Ring, sealed: Sealed, row: Any) -> int:
    """Seal one value again unless it has changed meanwhile; gives how many were."""
    old: bytes = row[-1]
    place = sealed.place(row)
    same = [column == value for column, value in zip(sealed.key, row, strict=False)]
    changed = {sealed.column.name: ring.seal(ring.open(old, place=place), place=place)}
    async with engine.begin() as conn:
        statement = sa.update(sealed.column.table).where(*same, sealed.column == old).values(changed)
        return (await conn.execute(statement)).rowcount
