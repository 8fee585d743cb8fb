"""The rescuer returns jobs with expired leases to the queue. Its loop does nothing else: no other backlog delays it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial

from services.jobs import maintenance

MIN_PAUSE_SECONDS = 0.25
MAX_PAUSE = 0.5
"""In leases. A new lease cannot expire within this pause, and a longer one would look like a standstill."""
STANDSTILL = 0.75
"""In leases. A longer time between rescues means that this process stood still: heartbeats leave as much of a lease."""


class Rescuer:
    """Runs in every replica; replicas share the work by SKIP LOCKED."""

    def __init__(self, tasks: maintenance.Maintenance, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._maintenance = tasks
        self._grace = tasks.jobs.lease
        self._lease = tasks.jobs.lease.total_seconds()
        self._clock = clock
        self._rescue_after = self._clock() + self._lease
        self._rescued_at = self._clock()

    async def run(self) -> None:
        """Rescue forever, whenever the next lease expires."""
        while True:
            pause = await self.rescue_expired()
            await asyncio.sleep(pause)

    async def rescue_expired(self) -> float:
        """Rescue jobs if a lease has expired; return the seconds until the next call."""
        try:
            seconds = await self._maintenance.seconds_to_expiry()
        except Exception:
            self._rescue_after = self._clock() + self._lease
            raise
        await self.rescue(expired=seconds is not None and seconds < 0)
        longest = self._lease * MAX_PAUSE
        return longest if seconds is None else min(longest, max(MIN_PAUSE_SECONDS, seconds))

    async def rescue(self, *, expired: bool = True) -> None:
        """Rescue jobs with expired leases, unless workers could not renew: then they first get time to do so.

        That time is one lease after a start or an error of the database, half a lease after a standstill of this process.
        """
        now = self._clock()
        if now - self._rescued_at > self._lease * STANDSTILL:
            # Each worker sends two heartbeats in half a lease.
            self._rescue_after = max(self._rescue_after, now + self._lease / 2)
        self._rescued_at = now
        if not expired or now < self._rescue_after:
            return
        try:
            await maintenance.drain(partial(self._maintenance.rescue, grace=self._grace))
        except Exception:
            self._rescue_after = self._clock() + self._lease
            raise
        finally:
            self._rescued_at = self._clock()
