"""Rows that no demo mode justifies: found by a walk over the primary key, removed under the lock of their owner."""

from __future__ import annotations

from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.demo import domain, rows, storage

Place = tuple[UUID, int]
"""An owner and a generation."""

START: Place = (UUID(int=0), -1)

# PostgreSQL has no skip scan over these two columns: each step of the recursion is one probe of the primary key.
# Content is enough to look at: it is written before the interactions with it, and removed after them.
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


async def walk(conn: AsyncConnection, *, after: Place, limit: int) -> list[tuple[Place, bool]]:
    """Give the next `limit` places that have rows, in order; each with whether a demo mode justifies them."""
    parameters = {"owner_id": after[0], "generation": after[1], "limit": limit}
    places = [(row.owner_id, row.generation) for row in await conn.execute(_WALK, parameters)]
    modes = await storage.get_modes(conn, {owner_id for owner_id, _ in places})
    return [((owner_id, generation), domain.justifies(modes[owner_id], generation)) for owner_id, generation in places]


async def remove(conn: AsyncConnection, place: Place, *, limit: int) -> int:
    """Remove up to `limit` unjustified rows of a place; gives how many. Leaves alone what somebody works on."""
    owner_id, generation = place
    mode = await storage.lock_free_mode(conn, owner_id)
    if mode is None or domain.justifies(mode, generation):
        return 0
    return await rows.remove_generation(conn, owner_id, generation, limit=limit)
