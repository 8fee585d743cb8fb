"""Periodic maintenance of the demo service: ends stalled transactions, deletes orphaned rows and old idempotency keys."""

from __future__ import annotations

import logging
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import postgres, transactions
from services.demo import idempotency, orphans, stalled_transactions, storage

logger = logging.getLogger(__name__)

STALLED_SECONDS = 2.0
ORPHANS_SECONDS = 10.0
"""Orphaned rows are invisible, so they may stay for a while."""
STALLED_AGE = timedelta(seconds=5)
"""A COPY is silent for this long only if its process has stopped."""
REMOVE_BATCH = 5_000
REMOVE_ROUNDS = 20
WALK_BATCH = 500
"""Generations that one pass looks at."""
KEYS_BATCH = 1_000
KEYS_SECONDS = 60.0


class Reconciler:
    """Runs in every replica. Rows are locked with SKIP LOCKED, so that replicas share the work."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._last_walked = orphans.START
        self._stalled_transactions = stalled_transactions.StalledTransactions()

    async def end_stalled_transactions(self, *, age: timedelta = STALLED_AGE) -> int:
        """End transactions whose own process has been silent for longer than `age`; return how many."""
        async with transactions.begin(postgres.autocommit(self._engine)) as conn:
            count = await self._stalled_transactions.end(conn, age=age)
        if count:
            logger.warning("stalled transactions ended", extra={"count": count})
        return count

    async def delete_orphaned_rows(self) -> int:
        """Delete orphaned rows of the next generations, walking through all owners; return how many."""
        async with postgres.autocommit(self._engine).connect() as conn:
            generations = await orphans.walk(conn, after=self._last_walked, limit=WALK_BATCH)
        self._last_walked = generations[-1][0] if len(generations) == WALK_BATCH else orphans.START
        return sum([await self._remove(generation) for generation, is_kept in generations if not is_kept])

    async def delete_old_keys(self) -> int:
        """Delete all old idempotency keys, one batch per transaction; return how many."""
        total, count = 0, KEYS_BATCH
        while count == KEYS_BATCH:
            async with self._engine.begin() as conn:
                count = await storage.delete_old_keys(conn, age=idempotency.KEY_LIFETIME, limit=KEYS_BATCH)
            total += count
        return total

    async def _remove(self, generation: orphans.Generation) -> int:
        total = 0
        for _ in range(REMOVE_ROUNDS):
            async with self._engine.begin() as conn:
                count = await orphans.remove(conn, generation, limit=REMOVE_BATCH)
            total += count
            if count < REMOVE_BATCH:
                break
        if total:
            owner_id, number = generation
            logger.info("orphaned rows deleted", extra={"owner_id": owner_id, "generation": number, "rows": total})
        return total
