"""What happens by itself: dead workers' jobs are rescued, due ones made ready, overdue ones failed, orphans cancelled."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

from chassis import run
from services.jobs import maintenance

TURN_SECONDS = 0.25
IDLE_SECONDS = 1.0
"""How long it rests at most, where it knows that there is nothing to do until then."""
TIDY_SECONDS = 5.0
RING_SECONDS = 1.0
"""Doorbells are rung again so often while jobs wait."""
STANDSTILL = 0.75
"""So long (in leases) without a judgement means that this process stood still: what remains of a lease after a heartbeat."""


class Reconciler:
    """Runs in every replica; rows are locked with SKIP LOCKED, so that several share the work."""

    def __init__(self, work: maintenance.Maintenance, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._maintenance = work
        self._jobs = work.jobs
        self._clock = clock
        self._lease = work.jobs.lease.total_seconds()
        self._judge_after = self._clock() + self._lease
        self._judged_at = self._clock()
        self._rung_at = self._clock()
        # A small part of a lease: a longer rest would look like a standstill.
        self._longest = min(IDLE_SECONDS, self._lease / 3)

    async def run(self) -> None:
        """Turn for ever: four times a second while jobs move here or wait, else when something is due, once a second at least."""
        while True:
            self._jobs.changed.clear()
            rest = await self.turn()
            await asyncio.sleep(TURN_SECONDS * random.uniform(0.75, 1.0))  # noqa: S311
            await run.wait(self._jobs.changed, rest - TURN_SECONDS)

    async def turn(self) -> float:
        """Look whether there is anything to do, by one query, and do it; gives in how many seconds to look again."""
        try:
            found = await self._maintenance.find_work()
        except Exception:
            self._judge_after = self._clock() + self._lease
            raise
        await self.rescue(expired=found.expired)
        if found.due or found.overdue:
            await self.promote()
        if found.waiting:
            await self._maintenance.advance_fair_ranks()
            if self._clock() - self._rung_at >= RING_SECONDS:
                self._rung_at = self._clock()
                await self._maintenance.wake_all()
            return TURN_SECONDS
        return (
            self._longest
            if found.seconds_to_next is None
            else min(self._longest, max(TURN_SECONDS, found.seconds_to_next))
        )

    async def rescue(self, *, expired: bool = True) -> None:
        """Rescue expired leases, if there are any; but not when nobody could renew: then the workers first get the time to do so.

        A lease after a start and after an error of the database, half of one after a standstill of this process.
        """
        now = self._clock()
        if now - self._judged_at > self._lease * STANDSTILL:
            # Half a lease is time for two heartbeats of each worker.
            self._judge_after = max(self._judge_after, now + self._lease / 2)
        self._judged_at = now
        if not expired or now < self._judge_after:
            return
        try:
            while await self._maintenance.rescue(grace=self._jobs.lease) == maintenance.BATCH:
                pass
        except Exception:
            self._judge_after = self._clock() + self._lease
            raise
        finally:
            self._judged_at = self._clock()

    async def promote(self) -> None:
        """Make ready what has become due, and fail what is overdue."""
        for step in (self._maintenance.promote_due, self._maintenance.fail_overdue):
            while await step() == maintenance.BATCH:
                pass

    async def tidy(self) -> None:
        """Cancel the children of parents that have ended, and give on places of concurrency keys that were forgotten."""
        for step in (self._maintenance.cancel_orphans, self._maintenance.admit_waiting):
            while await step() == maintenance.BATCH:
                pass
