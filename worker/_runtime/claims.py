"""The claim loop: while there is room, a call to the jobs service waits for jobs."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from chassis import batching, errors, run
from repruv.jobs.v1 import job_pb2
from worker._api.retry import backoff
from worker._runtime.slots import Slots
from worker.client import MAX_CLAIMS, JobsClient
from worker.liveness import Liveness

logger = logging.getLogger(__name__)

LOOP = "claim"
WAIT_SECONDS = 5.0
"""How long a claim waits in the jobs service."""
ROOM_SECONDS = 4.0
"""How long the loop waits for room at once, so that it turns."""
ANSWER_SECONDS = 0.3
"""So long a claim may take to be answered when the worker is to stop. One that only waits is ended then."""
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
        running: Slots,
        liveness: Liveness,
        *,
        start: Callable[[job_pb2.Job], None],
        wait: float = WAIT_SECONDS,
    ) -> None:
        """`start` is given each claimed job; `wait`: how long a claim waits in the jobs service, in seconds."""
        self.lease = 3.0
        """How long a lease lasts, in seconds, as last heard."""
        self.wake = asyncio.Event()
        """Set it when there is room again."""
        self._worker = worker
        self._kinds = kinds
        self._jobs = jobs
        self._running = running
        self._liveness = liveness
        self._start = start
        self._wait = wait
        self._claiming: asyncio.Task[int] | None = None
        self._claimed_at = 0.0
        self._claimed = 0
        self._was_full = False
        self._stopping = False

    async def run(self) -> None:
        """Claim until told to stop."""
        failures, refusals = backoff(first=0.1), backoff(first=0.1)
        while not self._stopping:
            self.wake.clear()
            rest = 0.0
            if self._running.free <= 0:
                rest = ROOM_SECONDS
            else:
                try:
                    if await self._claim():
                        refusals = backoff(first=0.1)
                    else:
                        rest = next(refusals)
                    failures = backoff(first=0.1)
                except errors.Error as error:
                    # An outage passes by itself; anything else is for somebody to mend.
                    level = logging.WARNING if isinstance(error, errors.Unavailable) else logging.ERROR
                    logger.log(level, "could not claim", extra={"cause": error.code, "detail": error.message})
                    self._liveness.turned(LOOP)
                    await asyncio.sleep(next(failures))
                    continue
            # Only here, and where nobody answered: a loop that breaks each time turns as little as one that hangs.
            self._liveness.turned(LOOP)
            if rest:
                await run.wait(self.wake, rest)
        self._liveness.ended(LOOP)

    async def stop(self) -> None:
        """Claim no more. A claim that is answered now becomes attempts, to be handed back in order; one that waits is ended."""
        self._stopping = True
        self._liveness.ended(LOOP)
        self.wake.set()
        if self._claiming:
            _, unanswered = await asyncio.wait([self._claiming], timeout=ANSWER_SECONDS)
            for task in unanswered:
                # What it has claimed in this very moment is handed back by the jobs service.
                task.cancel()

    async def _claim(self) -> bool:
        """Claim once; False for an answer that did not wait, though there was nothing to claim."""
        early = self._claimed_at + batching.min_interval(GATHER_SECONDS, self._claimed) - time.monotonic()
        if early > 0 and not (self._was_full and self._running.is_mostly_free):
            await asyncio.sleep(early)
            if self._stopping:
                return True
        self._claimed_at = time.monotonic()
        limit = min(self._running.free, MAX_CLAIMS)
        self._claiming = asyncio.create_task(self._claim_batch(limit))
        self._claimed = await asyncio.shield(self._claiming)
        self._was_full = self._claimed == limit
        return self._claimed > 0 or time.monotonic() - self._claimed_at > self._wait / 2

    async def _claim_batch(self, limit: int) -> int:
        jobs, self.lease = await self._jobs.claim(self._worker, self._kinds, limit, wait=self._wait)
        for job in jobs:
            self._start(job)
        return len(jobs)
