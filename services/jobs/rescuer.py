"""The rescuer returns jobs with expired leases to the queue. Its loop does nothing else: no other backlog delays it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial

from chassis import run
from services.jobs.maintenance import Maintenance, drain

MIN_PAUSE_SECONDS = 0.25
MAX_PAUSE_LEASES = 0.5
"""The longest pause in leases, while a job is held."""
LATE_LEASES = 0.25
"""In leases. A rescue that is later than this means that this process stood still: heartbeats leave three quarters of a lease."""
MAX_IDLE_PAUSE_LEASES = 1 - LATE_LEASES
"""The longest pause in leases, while no job is held. A new lease cannot expire before a late rescue."""


class Rescuer:
    """Runs in every replica; replicas share the work by SKIP LOCKED."""

    def __init__(self, maintenance: Maintenance, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._maintenance = maintenance
        self._grace = maintenance.jobs.lease
        self._lease = maintenance.jobs.lease.total_seconds()
        self._clock = clock
        self._rescue_after = self._clock() + self._lease
        self._rescue_due = self._clock() + self._lease * MAX_PAUSE_LEASES

    async def run(self) -> None:
        """Rescue forever, whenever the next lease expires."""
        while True:
            pause = await self.rescue_expired()
            await asyncio.sleep(pause)

    async def rescue_expired(self) -> float:
        """Rescue jobs if a lease has expired; return the seconds until the next call."""
        try:
            seconds = await self._maintenance.seconds_to_lease_expiry()
        except Exception:
            self._rescue_after = self._clock() + self._lease
            raise
        await self.rescue(expired=seconds is not None and seconds < 0)
        if seconds is None:
            self._rescue_due = self._clock() + self._lease * MAX_IDLE_PAUSE_LEASES
            return run.pause(self._lease * MAX_IDLE_PAUSE_LEASES)
        return min(self._lease * MAX_PAUSE_LEASES, max(MIN_PAUSE_SECONDS, seconds))

    async def rescue(self, *, expired: bool = True) -> None:
        """Rescue jobs with expired leases, unless workers could not renew: then they first get time to do so.

        That time is one lease after a start or an error of the database, half a lease after a standstill of this process.
        """
        now = self._clock()
        if now - self._rescue_due > self._lease * LATE_LEASES:
            # Each worker sends two heartbeats in half a lease.
            self._rescue_after = max(self._rescue_after, now + self._lease / 2)
        try:
            if expired and now >= self._rescue_after:
                await drain(partial(self._maintenance.rescue, grace=self._grace))
        except Exception:
            self._rescue_after = self._clock() + self._lease
            raise
        finally:
            self._rescue_due = self._clock() + self._lease * MAX_PAUSE_LEASES
