"""The claim loop: takes jobs whenever there is room and a sign that there are some."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable

from chassis import coalescing, errors, run
from repruv.jobs.v1 import job_pb2
from worker.client import MAX_CLAIMS, TIMEOUT, JobsClient
from worker.liveness import Liveness
from worker.patience import pauses
from worker.running import Running

logger = logging.getLogger(__name__)

LOOP = "claim"
POLL_SECONDS = 1.0
"""How long the loop rests when doorbells cannot be heard."""
RELAXED_POLL_SECONDS = 4.0
"""How long it rests when they can: one may be lost, but for jobs that wait the jobs service rings again every second."""
GATHER_SECONDS = 0.01
"""Between two claims, and longer after one of many: what comes or gets free within it is claimed together.

A claim after a rest is made at once, and so is one when there is surely enough to do and room for it.
"""


class Claims:
    """Claims jobs for a worker."""

    def __init__(
        self,
        worker: str,
        kinds: list[str],
        jobs: JobsClient,
        running: Running,
        liveness: Liveness,
        *,
        start: Callable[[job_pb2.Job], None],
        hears: Callable[[], bool],
    ) -> None:
        """`start` is given each claimed job; `hears` says whether doorbells can be heard."""
        self.lease = 3.0
        """How long a lease lasts, in seconds, as last heard."""
        self.wake = asyncio.Event()
        """Set it when there may be jobs, or room for some."""
        self._worker = worker
        self._kinds = kinds
        self._jobs = jobs
        self._running = running
        self._liveness = liveness
        self._start = start
        self._hears = hears
        self._claiming: asyncio.Task[int] | None = None
        self._claimed_at = 0.0
        self._claimed = 0
        self._was_full = False
        self._stopping = False

    async def run(self) -> None:
        """Claim until told to stop."""
        failures = pauses(first=0.1)
        while not self._stopping:
            self.wake.clear()
            if self._running.free > 0:
                try:
                    wants_more = await self._claim()
                    failures = pauses(first=0.1)
                except errors.Error as error:
                    # An outage passes by itself; anything else is for somebody to mend.
                    level = logging.WARNING if isinstance(error, errors.Unavailable) else logging.ERROR
                    logger.log(level, "could not claim", extra={"cause": error.code, "detail": error.message})
                    self._liveness.turned(LOOP)
                    await asyncio.sleep(next(failures))
                    continue
            else:
                wants_more = False
            # Only here, and where nobody answered: a loop that breaks each time turns as little as one that hangs.
            self._liveness.turned(LOOP)
            if not wants_more:
                rest = RELAXED_POLL_SECONDS if self._hears() else POLL_SECONDS
                await run.wait(self.wake, rest * random.uniform(0.75, 1.25))  # noqa: S311
        self._liveness.ended(LOOP)

    async def stop(self) -> None:
        """Claim no more. A claim that was made becomes attempts, to be handed back in order."""
        self._stopping = True
        self._liveness.ended(LOOP)
        self.wake.set()
        if self._claiming:
            _, unanswered = await asyncio.wait([self._claiming], timeout=TIMEOUT)
            for task in unanswered:
                task.cancel()

    async def _claim(self) -> bool:
        """Claim once; says whether there may be more that there is room for."""
        early = self._claimed_at + coalescing.apart(GATHER_SECONDS, self._claimed) - time.monotonic()
        if early > 0 and not (self._was_full and self._running.is_mostly_free):
            await asyncio.sleep(early)
        self._claimed_at = time.monotonic()
        limit = min(self._running.free, MAX_CLAIMS)
        self._claiming = asyncio.create_task(self._claim_batch(limit))
        self._claimed = await asyncio.shield(self._claiming)
        self._was_full = self._claimed == limit
        return self._was_full

    async def _claim_batch(self, limit: int) -> int:
        jobs, self.lease = await self._jobs.claim(self._worker, self._kinds, limit)
        for job in jobs:
            self._start(job)
        return len(jobs)
