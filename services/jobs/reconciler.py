"""The reconciler rescues jobs with expired leases, promotes due jobs, fails overdue jobs and cancels orphans."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

from chassis import run
from services.jobs import maintenance

BUSY_SECONDS = 0.25
IDLE_SECONDS = 1.0
"""The longest pause between passes; the next due time may shorten it."""
TIDY_SECONDS = 10.0
WAKE_SECONDS = 1.0
"""While jobs are ready, all waiting claims are woken this often."""
STANDSTILL = 0.75
"""In leases. A longer time between rescues means that this process stood still: heartbeats leave as much of a lease."""


class Reconciler:
    """Runs in every replica; replicas share the work by SKIP LOCKED."""

    def __init__(self, tasks: maintenance.Maintenance, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._maintenance = tasks
        self._jobs = tasks.jobs
        self._clock = clock
        self._lease = tasks.jobs.lease.total_seconds()
        self._rescue_after = self._clock() + self._lease
        self._rescued_at = self._clock()
        self._woken_at = self._clock()
        # A fraction of a lease: a longer pause would look like a standstill.
        self._max_pause = min(IDLE_SECONDS, self._lease / 3)

    async def run(self) -> None:
        """Reconcile forever: four times a second while jobs move or are ready, else at the next due time or after a second."""
        while True:
            self._jobs.changed.clear()
            pause = await self.reconcile()
            await asyncio.sleep(BUSY_SECONDS * random.uniform(0.75, 1.0))  # noqa: S311
            await run.wait(self._jobs.changed, pause - BUSY_SECONDS)

    async def reconcile(self) -> float:
        """Find work by one query and do it; return the seconds until the next pass."""
        try:
            work = await self._maintenance.find_work()
        except Exception:
            self._rescue_after = self._clock() + self._lease
            raise
        await self.rescue(expired=work.expired)
        if work.due or work.overdue:
            await self.promote()
        if work.waiting:
            await self._maintenance.advance_fair_ranks()
            if self._clock() - self._woken_at >= WAKE_SECONDS:
                self._woken_at = self._clock()
                await self._maintenance.wake_all()
            return BUSY_SECONDS
        return (
            self._max_pause
            if work.seconds_to_next is None
            else min(self._max_pause, max(BUSY_SECONDS, work.seconds_to_next))
        )

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
            while await self._maintenance.rescue(grace=self._jobs.lease) == maintenance.BATCH:
                pass
        except Exception:
            self._rescue_after = self._clock() + self._lease
            raise
        finally:
            self._rescued_at = self._clock()

    async def promote(self) -> None:
        """Promote due jobs and fail overdue jobs."""
        for step in (self._maintenance.promote_due, self._maintenance.fail_overdue):
            while await step() == maintenance.BATCH:
                pass

    async def tidy(self) -> None:
        """Cancel orphans, and admit jobs to slots that a transaction has missed."""
        for step in (self._maintenance.cancel_orphans, self._maintenance.admit_waiting):
            while await step() == maintenance.BATCH:
                pass
