"""The claim loop: while slots are free, one call waits in the jobs service for jobs."""

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
WAIT_SECONDS = 7.0
"""Time that a claim waits in the jobs service."""
FREE_SLOT_SECONDS = 4.0
"""Time that one iteration waits for a free slot."""
STOP_SECONDS = 0.3
"""Time for a claim to be answered when the worker stops. A claim that still waits is cancelled."""
MIN_INTERVAL_SECONDS = 0.01
"""Time between two claims, longer after a large one: jobs and slots of the interval are claimed together.

A claim after a pause starts at once. So does one after a full claim while most slots are free.
"""


class Claims:
    def __init__(
        self,
        worker: str,
        kinds: list[str],
        jobs: JobsClient,
        slots: Slots,
        liveness: Liveness,
        *,
        start: Callable[[job_pb2.Job], None],
        wait: float = WAIT_SECONDS,
    ) -> None:
        """`start` is called with each claimed job. `wait`: seconds that a claim waits in the jobs service."""
        self.lease = 3.0
        """Duration of a lease in seconds, from the last claim."""
        self.wake = asyncio.Event()
        """Set it when a slot becomes free."""
        self._worker = worker
        self._kinds = kinds
        self._jobs = jobs
        self._slots = slots
        self._liveness = liveness
        self._start = start
        self._wait = wait
        self._claiming: asyncio.Task[int] | None = None
        self._claimed_at = 0.0
        self._claimed = 0
        self._was_full = False
        self._stopping = False

    async def run(self) -> None:
        """Claim until `stop` is called."""
        failures, empty_answers = backoff(first=0.1), backoff(first=0.1)
        while not self._stopping:
            self.wake.clear()
            pause = 0.0
            if self._slots.free <= 0:
                pause = FREE_SLOT_SECONDS
            else:
                try:
                    if await self._claim():
                        empty_answers = backoff(first=0.1)
                    else:
                        pause = next(empty_answers)
                    failures = backoff(first=0.1)
                except errors.Error as error:
                    # An outage is temporary. Any other error needs an operator.
                    level = logging.WARNING if isinstance(error, errors.Unavailable) else logging.ERROR
                    logger.log(level, "could not claim", extra={"cause": error.code, "detail": error.message})
                    self._liveness.beat(LOOP)
                    await asyncio.sleep(next(failures))
                    self._liveness.beat(LOOP)
                    continue
            # Only here and after an unanswered call: a loop that raises in each iteration counts as stalled.
            self._liveness.beat(LOOP)
            if pause:
                await run.wait(self.wake, pause)
                self._liveness.beat(LOOP)
        self._liveness.finish(LOOP)

    async def stop(self) -> None:
        """Stop claiming. Jobs of an answered claim become attempts that are handed back; a waiting claim is cancelled."""
        self._stopping = True
        self._liveness.finish(LOOP)
        self.wake.set()
        if self._claiming:
            _, unanswered = await asyncio.wait([self._claiming], timeout=STOP_SECONDS)
            for task in unanswered:
                # The jobs service hands back what a cancelled claim has taken.
                task.cancel()

    async def _claim(self) -> bool:
        """Claim once. Return False for an empty answer that came without waiting."""
        delay = self._claimed_at + batching.min_interval(MIN_INTERVAL_SECONDS, self._claimed) - time.monotonic()
        if delay > 0 and not (self._was_full and self._slots.is_mostly_free):
            await asyncio.sleep(delay)
            if self._stopping:
                return True
        self._claimed_at = time.monotonic()
        limit = min(self._slots.free, MAX_CLAIMS)
        self._claiming = asyncio.create_task(self._claim_batch(limit))
        await asyncio.wait([self._claiming])
        if self._claiming.cancelled():
            # By `stop`.
            return True
        self._claimed = self._claiming.result()
        self._was_full = self._claimed == limit
        return self._claimed > 0 or time.monotonic() - self._claimed_at > self._wait / 2

    async def _claim_batch(self, limit: int) -> int:
        jobs, self.lease = await self._jobs.claim(self._worker, self._kinds, limit, wait=self._wait)
        for job in jobs:
            self._start(job)
        return len(jobs)
