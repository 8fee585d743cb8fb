"""Removes orphaned rows, which no demo mode keeps. A walk over the primary key finds them; the lock of their owner is held."""

from __future__ import annotations

from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.demo import domain, rows, storage

Generation = tuple[UUID, int]
"""An owner, and the number of a generation."""

START: Generation = (UUID(int=0), -1)

# PostgreSQL has no skip scan over these two columns: each step of the recursion is one probe of the primary key.
# The walk reads only content: content is written before its interactions, and removed after them.
_WALK = sa.text("""
    WITH RECURSIVE walk AS (
        (SELECT owner_id, generation, 1 AS step FROM demo.content
         WHERE (owner_id, generation) > (:owner_id, :generation)
         ORDER BY owner_id, generation LIMIT 1)
        UNION ALL
        SELECT next.owner_id, next.generation, walk.step + 1
        FROM walk, LATERAL (
            SELECT owner_id, generation FROM demo.content
            WHERE (owner_id, generation) > (walk.owner_id, walk.generation)
            ORDER BY owner_id, generation LIMIT 1) AS next
        WHERE walk.step < :limit
    )
    SELECT owner_id, generation FROM walk ORDER BY step
""").bindparams(sa.bindparam("owner_id", type_=sa.Uuid), sa.bindparam("generation", type_=sa.BigInteger))


async def walk(conn: AsyncConnection, *, after: Generation, limit: int) -> list[tuple[Generation, bool]]:
    """Return the next `limit` generations that have rows, in order. The flag is whether a demo mode keeps the rows."""
    parameters = {"owner_id": after[0], "generation": after[1], "limit": limit}
    generations = [(row.owner_id, row.generation) for row in await conn.execute(_WALK, parameters)]
    modes = await storage.get_modes(conn, {owner_id for owner_id, _ in generations})
    return [((owner_id, number), domain.keeps_rows(modes[owner_id], number)) for owner_id, number in generations]


async def remove(conn: AsyncConnection, generation: Generation, *, limit: int) -> int:
    """Remove up to `limit` orphaned rows of a generation; return how many. Skips an owner whose row is locked."""
    owner_id, number = generation
    mode = await storage.lock_free_mode(conn, owner_id)
    if mode is None or domain.keeps_rows(mode, number):
        return 0
    removed = await rows.remove_generation(conn, owner_id, number, limit=limit)
    if removed < limit:
        await storage.delete_unused_mode(conn, owner_id)
    return removed
