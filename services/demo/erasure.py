"""The handler of the job `demo.erase`: everything of an owner whose account is being deleted."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

import worker
from chassis import ids
from services.demo import schema, storage

KIND = "demo.erase"
BATCH = 5_000
"""Rows that one transaction deletes."""
WAIT = timedelta(seconds=5)
"""The pause while a message of the owner is not sent yet, or the row of the owner is locked."""

_ctid: sa.ColumnClause[Any] = sa.literal_column("ctid")
_IS_UNSENT = sa.text("""
    SELECT EXISTS (SELECT FROM demo.outbox
        WHERE strpos(subject, :owner_id) > 0 OR strpos(encode(payload, 'escape'), :owner_id) > 0)
""")


def kind(engine: AsyncEngine) -> worker.Kind[Any]:
    return worker.Kind(
        KIND, partial(erase, engine), max_attempts=20, max_backoff=timedelta(minutes=10), retention=timedelta(days=1)
    )


async def erase(engine: AsyncEngine, context: worker.Context) -> dict[str, int]:
    """Delete all rows of an owner in batches, each in its own transaction; return how many. A later attempt deletes the rest."""
    owner_id = ids.parse(str(context.payload.get("owner_id", "")), "owner_id")
    deleted = 0
    for table in _tables():
        batch = BATCH
        while batch == BATCH:
            context.raise_if_cancelled()
            async with engine.begin() as conn:
                # Under the lock of every writer of demo rows: what a worker writes later finds no demo mode.
                if table is not schema.idempotency_keys and await storage.lock_free_mode(conn, owner_id) is None:
                    raise worker.Snooze(WAIT)
                batch = await _delete(conn, table, owner_id, BATCH)
            deleted += batch
            await context.progress(deleted, 0, "Deleting sample data")
    async with engine.connect() as conn:
        if await conn.scalar(_IS_UNSENT, {"owner_id": str(owner_id)}):
            raise worker.Snooze(WAIT)
    return {"rows": deleted}


def _tables() -> list[sa.Table]:
    """Return the tables with rows of owners in the order in which they are emptied; the row that is locked goes last."""
    tables = schema.metadata.sorted_tables
    with_owners = [table for table in reversed(tables) if "owner_id" in table.c]
    return sorted(with_owners, key=lambda table: table is schema.demo_modes)


async def _delete(conn: AsyncConnection, table: sa.Table, owner_id: UUID, limit: int) -> int:
    batch_ids = sa.select(_ctid).select_from(table).where(table.c.owner_id == owner_id).limit(limit)
    batch = sa.func.array(batch_ids.scalar_subquery())
    return (await conn.execute(sa.delete(table).where(_ctid == sa.any_(batch)))).rowcount
