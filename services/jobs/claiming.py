"""A claim as it is called for: it waits for jobs, and gives back what it has claimed for somebody who is gone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from datetime import timedelta

from services.jobs import domain, operations
from services.jobs.domain import Job

logger = logging.getLogger(__name__)

MAX_WAIT = timedelta(seconds=20)


class Claiming:
    """Claims for callers, who may leave at any time."""

    def __init__(self, jobs: operations.Operations) -> None:
        self._jobs = jobs
        self._returning: set[asyncio.Task[None]] = set()

    async def claim(self, *, worker: str, kinds: Collection[str], limit: int, wait: timedelta) -> list[Job]:
        """Claim jobs; while there is none, wait for one, at most so long. At once empty when the service stops, or too many wait.

        Cancelled, it waits no more, and what it may have claimed is handed back.
        """
        waiters = self._jobs.waiters
        if not wait or not waiters.has_room:
            return await self._claim(worker, kinds, limit)
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + wait.total_seconds()
        with waiters.joined(kinds, limit, worker) as waiter:
            try:
                while await waiter.turn(ends_at):
                    limited = not waiter.served and await self._jobs.kinds.are_limited(kinds)
                    # From here on nothing is waited for that could be cancelled: what was claimed is answered.
                    found = await (
                        asyncio.shield(waiter.served) if waiter.served else self._claim(worker, kinds, limit)
                    )
                    waiter.claimed([job.spec.kind for job in found], limited=limited)
                    if found or loop.time() >= ends_at:
                        return found
            except asyncio.CancelledError:
                if waiter.served:
                    self._return(waiter.served)
                raise
        return []

    async def _claim(self, worker: str, kinds: Collection[str], limit: int) -> list[Job]:
        claim = asyncio.create_task(self._jobs.claim(worker=worker, kinds=kinds, limit=limit))
        try:
            return await asyncio.shield(claim)
        except asyncio.CancelledError:
            self._return(claim)
            raise

    def _return(self, claim: asyncio.Future[list[Job]]) -> None:
        # Otherwise they would be lost until their lease is, and whoever asked for them would be blamed.
        returning = asyncio.create_task(self._hand_back(claim))
        self._returning.add(returning)
        returning.add_done_callback(self._returning.discard)

    async def _hand_back(self, claim: asyncio.Future[list[Job]]) -> None:
        try:
            if claimed := await claim:
                await self._jobs.finish_many([(job.job_id, job.attempt, domain.Released()) for job in claimed])
        except Exception as error:  # noqa: BLE001 - whatever it was, the lease sees to it
            logger.warning("claimed jobs wait for their lease to expire", extra={"cause": repr(error)[:200]})
