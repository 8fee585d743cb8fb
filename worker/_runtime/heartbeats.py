"""The heartbeat loop: keeps the leases of what runs, stops what was lost or is unwanted."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from itertools import islice

from chassis import errors, run
from worker._runtime.attempt import StopReason
from worker._runtime.slots import Slots
from worker.client import MAX_BEATS, JobsClient
from worker.liveness import Liveness

logger = logging.getLogger(__name__)

LOOP = "heartbeat"
BEATS_PER_LEASE = 4
REPEAT_SECONDS = 0.1
"""Pause before a heartbeat that was not answered is repeated."""
LEASES_WITHOUT_CONTACT = 3
"""After so many leases without an answer the attempts are given up: by then others have surely taken over."""
MOST_SECONDS = 5.0


class Heartbeats:
    """Keeps the leases of a worker."""

    def __init__(
        self, worker: str, jobs: JobsClient, running: Slots, liveness: Liveness, *, lease: Callable[[], float]
    ) -> None:
        """`lease` gives how long a lease lasts, in seconds."""
        self.now = asyncio.Event()
        """Set it to beat at once."""
        self._worker = worker
        self._jobs = jobs
        self._running = running
        self._liveness = liveness
        self._lease = lease
        self._heard_at = time.monotonic()

    async def run(self) -> None:
        """Beat for ever."""
        self._heard_at = time.monotonic()
        answered = True
        while True:
            pause = min(self._lease() / BEATS_PER_LEASE, MOST_SECONDS)
            await run.wait(self.now, pause if answered else min(pause, REPEAT_SECONDS))
            self.now.clear()
            if not self._running:
                self._heard_at = time.monotonic()
            elif not self._liveness.stalled:
                # A worker that claims nothing any more must not look alive.
                answered = await self._beat(pause)
            self._liveness.turned(LOOP)

    async def _beat(self, timeout: float) -> bool:
        """Renew all leases; says whether that was answered."""
        sent_at = time.monotonic()
        held = iter(self._running.held)
        try:
            while some := list(islice(held, MAX_BEATS)):
                # Not longer than until the next one is due: a replica that froze must not cost the lease.
                beat = await self._jobs.heartbeat(self._worker, some, timeout=timeout)
                self._running.stop(beat.lost, StopReason.LOST)
                self._running.request_cancel(beat.cancelling)
        except errors.Error as error:
            logger.warning("heartbeat not answered", extra={"cause": error.code})
            if time.monotonic() - self._heard_at > self._lease() * LEASES_WITHOUT_CONTACT:
                # What has ended goes on telling its outcome, which is accepted unless another attempt was made.
                self._running.stop(self._running.working, StopReason.LOST)
            return False
        self._heard_at = sent_at
        return True
