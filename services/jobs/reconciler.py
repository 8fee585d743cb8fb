"""The reconciler moves due, overdue and overrun jobs, cancels orphans, admits to free slots, advances ranks and wakes claims."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from chassis import run
from services.jobs.maintenance import BATCH, Maintenance, drain

BUSY_SECONDS = 0.25
IDLE_SECONDS = 3.0
"""The longest pause between passes while NATS is connected; the next due time may shorten it."""
AWAY_SECONDS = 1.0
"""The longest pause between passes while NATS is away: wake-ups of other replicas are lost."""
REPAIR_SECONDS = 10.0
OVERRUN_SECONDS = 30.0
WAKE_SECONDS = 1.0
"""While jobs are ready, all waiting claims are woken this often."""
BATCHES = 10
"""Batches of one task in one pass: a backlog of one task delays the others by as much."""


class Reconciler:
    """Runs in every replica; replicas share the work by SKIP LOCKED."""

    def __init__(self, maintenance: Maintenance, *, is_caught_up: Callable[[], bool]) -> None:
        """`is_caught_up`: whether this replica receives the wake-ups of others now."""
        self._maintenance = maintenance
        self._jobs = maintenance.jobs
        self._is_caught_up = is_caught_up
        self._woken_at = time.monotonic()

    async def run(self) -> None:
        """Reconcile forever: four times a second while jobs move or are ready, else at the next due time or in a few seconds."""
        while True:
            self._jobs.changed.clear()
            began_at = time.monotonic()
            if pause := await self.reconcile():
                await run.wait(self._jobs.changed, pause)
                await asyncio.sleep(max(0.0, began_at + BUSY_SECONDS - time.monotonic()))

    async def reconcile(self) -> float:
        """Find work by one query and do some of it; return the seconds until the next pass, 0 if work remains."""
        work = await self._maintenance.find_work()
        remains = (work.due or work.overdue) and await self.move_due_jobs()
        if work.has_ready_jobs or self._jobs.claimed_ranks.is_ahead:
            await self._maintenance.advance_fair_ranks()
        if work.has_ready_jobs and time.monotonic() - self._woken_at >= WAKE_SECONDS:
            self._woken_at = time.monotonic()
            await self._maintenance.wake_all()
        if remains:
            return 0.0
        if work.has_ready_jobs:
            return BUSY_SECONDS
        longest = run.pause(IDLE_SECONDS if self._is_caught_up() else AWAY_SECONDS)
        return longest if work.seconds_to_next is None else min(longest, max(BUSY_SECONDS, work.seconds_to_next))

    async def move_due_jobs(self) -> bool:
        """Promote due jobs and fail overdue jobs, up to `BATCHES` batches each; return whether more may remain."""
        remains = False
        for task in (self._maintenance.promote_due, self._maintenance.fail_overdue):
            for _ in range(BATCHES):
                if await task() < BATCH:
                    break
            else:
                remains = True
        return remains

    async def end_overrun_attempts(self) -> None:
        """End attempts that ignore their timeout."""
        await drain(self._maintenance.end_overrun_attempts)

    async def repair_missed(self) -> None:
        """Cancel orphans, and admit jobs to slots that a transaction has missed."""
        for task in (self._maintenance.cancel_orphans, self._maintenance.admit_waiting):
            await drain(task)
