"""The heartbeat loop: renews leases, stops attempts that lost theirs, forwards cancel requests."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from itertools import islice

from chassis import errors, run
from worker._runtime.attempt import StopReason
from worker._runtime.slots import Slots
from worker.client import MAX_HEARTBEATS, JobsClient
from worker.liveness import Liveness

logger = logging.getLogger(__name__)

LOOP = "heartbeat"
BEATS_PER_LEASE = 4
REPEAT_SECONDS = 0.1
"""Pause before an unanswered heartbeat is repeated."""
LEASES_WITHOUT_CONTACT = 3
"""After this many leases without an answer the attempts are stopped: other workers have taken over by then."""
MAX_PAUSE_SECONDS = 5.0
IDLE_SECONDS = 5.0
"""Pause between iterations without an attempt."""


class Heartbeats:
    """Renews the leases of a worker."""

    def __init__(
        self, worker: str, jobs: JobsClient, slots: Slots, liveness: Liveness, *, lease: Callable[[], float]
    ) -> None:
        """`lease` returns the duration of a lease in seconds."""
        self.beat_now = asyncio.Event()
        """Set it to send a heartbeat at once."""
        self._worker = worker
        self._jobs = jobs
        self._slots = slots
        self._liveness = liveness
        self._lease = lease
        self._answered_at = time.monotonic()

    async def run(self) -> None:
        self._answered_at = time.monotonic()
        is_answered = True
        while True:
            if not self._slots:
                is_occupied = await run.wait(self._slots.is_occupied, run.pause(IDLE_SECONDS))
                # A worker that holds nothing needs no answers: its time without one begins with its first attempt.
                self._answered_at = time.monotonic()
                self._liveness.beat(LOOP)
                if not is_occupied:
                    continue
            pause = min(self._lease() / BEATS_PER_LEASE, MAX_PAUSE_SECONDS)
            await run.wait(self.beat_now, pause if is_answered else min(pause, REPEAT_SECONDS))
            self.beat_now.clear()
            if self._slots and not self._liveness.stalled:
                # A worker that no longer claims must not keep its leases.
                is_answered = await self._beat(pause)
            self._liveness.beat(LOOP)

    async def _beat(self, timeout: float) -> bool:
        """Renew all leases. Return whether the jobs service answered."""
        sent_at = time.monotonic()
        keys = iter(self._slots.keys)
        try:
            while batch := list(islice(keys, MAX_HEARTBEATS)):
                # The timeout ends when the next heartbeat is due.
                response = await self._jobs.heartbeat(self._worker, batch, timeout=timeout)
                self._slots.stop(response.lost, StopReason.LOST)
                self._slots.request_cancel(response.cancelling)
        except errors.Error as error:
            logger.warning("heartbeat not answered", extra={"cause": error.code})
            if time.monotonic() - self._answered_at > self._lease() * LEASES_WITHOUT_CONTACT:
                # Attempts whose handlers have ended still deliver their outcome. It counts unless another attempt exists.
                self._slots.stop(self._slots.running_keys, StopReason.LOST)
            return False
        self._answered_at = sent_at
        return True
