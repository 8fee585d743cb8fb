"""What happens by itself: transitions whose job has ended unheard are settled, and what nobody needs any more is deleted."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import errors, postgres
from services.demo import janitor, operations, stalled, storage

logger = logging.getLogger(__name__)

SECONDS = 2.0
STALE = timedelta(seconds=10)
STALLED = timedelta(seconds=5)
"""Far longer than a handler needs to send the rows of one transaction."""
BATCH = 20
REMOVE_BATCH = 5_000
REMOVE_ROUNDS = 20
WALK = 500
INBOX_LIFETIME = timedelta(days=7)
EXPIRED_BATCH = 1_000
EXPIRY_SECONDS = 60.0


class Reconciler:
    """Runs in every replica; rows are locked with SKIP LOCKED, so that several share the work."""

    def __init__(self, engine: AsyncEngine, demo: operations.Operations) -> None:
        self._engine = engine
        self._demo = demo
        self._walked_to = janitor.START

    async def settle_stale(self, *, age: timedelta = STALE) -> int:
        """Ask for the jobs of transitions that last longer than `age`; gives how many were asked for."""
        async with self._engine.begin() as conn:
            stale = await storage.take_stale_transitions(conn, age=age, limit=BATCH)
        results = await asyncio.gather(*(self._demo.check(mode) for mode in stale), return_exceptions=True)
        for mode, result in zip(stale, results, strict=True):
            if isinstance(result, errors.Error):
                logger.warning("transition not checked", extra={"job_id": mode.job_id, "cause": result.code})
            elif isinstance(result, BaseException):
                logger.error("transition not checked", exc_info=result, extra={"job_id": mode.job_id})
        return len(stale)

    async def end_stalled(self, *, age: timedelta = STALLED) -> int:
        """End transactions whose own process has been silent for longer than `age`; gives how many."""
        async with self._engine.begin() as conn:
            ended = await stalled.end(conn, age=age)
        if ended:
            logger.warning("silent transactions ended", extra={"count": ended})
        return ended

    async def clean(self) -> int:
        """Delete rows that no demo mode justifies, walking on through all owners from call to call; gives how many."""
        async with postgres.autocommit(self._engine).connect() as conn:
            found = await janitor.walk(conn, after=self._walked_to, limit=WALK)
        self._walked_to = found[-1][0] if len(found) == WALK else janitor.START
        return sum([await self._remove(place) for place, is_justified in found if not is_justified])

    async def delete_expired(self) -> int:
        """Delete a batch of old idempotency keys and of old inbox rows; gives how many."""
        async with self._engine.begin() as conn:
            return await storage.delete_expired(
                conn, keys=operations.KEY_LIFETIME, received=INBOX_LIFETIME, limit=EXPIRED_BATCH
            )

    async def _remove(self, place: janitor.Place) -> int:
        total = 0
        for _ in range(REMOVE_ROUNDS):
            async with self._engine.begin() as conn:
                removed = await janitor.remove(conn, place, limit=REMOVE_BATCH)
            total += removed
            if removed < REMOVE_BATCH:
                break
        if total:
            logger.info("rows cleaned", extra={"owner_id": place[0], "generation": place[1], "rows": total})
        return total
