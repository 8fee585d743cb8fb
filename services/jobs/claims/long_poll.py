"""A ClaimJobs call: it waits for jobs, and hands back what it claimed for a caller that has disconnected."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import timedelta
from uuid import UUID

from services.jobs import domain, kinds, outcomes
from services.jobs.claims.waiters import Waiters
from services.jobs.domain import Job

logger = logging.getLogger(__name__)

MAX_WAIT = timedelta(seconds=20)


class LongPoll:
    """Claims for callers that may disconnect at any time."""

    def __init__(
        self,
        waiters: Waiters,
        registry: kinds.Kinds,
        *,
        claim: Callable[..., Awaitable[list[Job]]],
        finish_many: Callable[[Sequence[tuple[UUID, int, outcomes.Outcome]]], Awaitable[object]],
    ) -> None:
        """Create it over `Operations.claim` and `Operations.finish_many`."""
        self._waiters = waiters
        self._kinds = registry
        self._claim_now = claim
        self._finish_many = finish_many
        self._returning: set[asyncio.Task[None]] = set()

    async def claim(self, *, worker: str, kinds: Collection[str], limit: int, wait: timedelta) -> list[Job]:
        """Claim jobs; if none is ready, wait up to `wait` for one. Empty at once when the service stops or too many calls wait.

        A cancelled call stops waiting, and hands back what it may have claimed.
        """
        if not wait or not self._waiters.has_room:
            return await self._claim(worker, kinds, limit)
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + wait.total_seconds()
        with self._waiters.register(kinds, limit, worker) as waiter:
            try:
                while await waiter.wait(ends_at):
                    limited = not waiter.handoff and await self._kinds.are_limited(kinds)
                    # No cancellable wait from here to the return: every claimed job is answered.
                    jobs = await (
                        asyncio.shield(waiter.handoff) if waiter.handoff else self._claim(worker, kinds, limit)
                    )
                    limited = limited or sum(job.payload_bytes for job in jobs) >= domain.CLAIM_BYTES
                    waiter.record_claim([job.spec.kind for job in jobs], limited=limited)
                    if jobs or loop.time() >= ends_at:
                        return jobs
            except asyncio.CancelledError:
                if waiter.handoff:
                    self._return(waiter.handoff)
                raise
        return []

    async def _claim(self, worker: str, kinds: Collection[str], limit: int) -> list[Job]:
        claim = asyncio.ensure_future(self._claim_now(worker=worker, kinds=kinds, limit=limit))
        try:
            return await asyncio.shield(claim)
        except asyncio.CancelledError:
            self._return(claim)
            raise

    def _return(self, claim: asyncio.Future[list[Job]]) -> None:
        # Otherwise the jobs would stand still until their lease expires, and count as crashes of the worker.
        returning = asyncio.create_task(self._hand_back(claim))
        self._returning.add(returning)
        returning.add_done_callback(self._returning.discard)

    async def _hand_back(self, claim: asyncio.Future[list[Job]]) -> None:
        try:
            if claimed := await claim:
                await self._finish_many([(job.job_id, job.attempt, outcomes.Released()) for job in claimed])
        except Exception as error:  # noqa: BLE001 - on any failure the leases expire and the jobs are rescued
            logger.warning("claimed jobs wait for their lease to expire", extra={"cause": repr(error)[:200]})
