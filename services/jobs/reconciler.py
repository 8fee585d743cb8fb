"""What happens by itself: dead workers' jobs are rescued, due jobs are announced."""

from __future__ import annotations

import time
from datetime import timedelta

from services.jobs import operations

RESCUE_SECONDS = 0.25
PROMOTE_SECONDS = 0.25
_RING_WINDOW = timedelta(seconds=1)


class Reconciler:
    """Runs in every replica; rows are locked with SKIP LOCKED, so that several share the work."""

    def __init__(self, jobs: operations.Operations) -> None:
        self._jobs = jobs
        self._judge_after = time.monotonic() + jobs.lease.total_seconds()

    async def rescue(self) -> None:
        """Rescue expired leases; but after a start and after any error of the database, first wait one lease.

        Then nobody could renew, and the workers get the time to do so before they are judged.
        """
        if time.monotonic() < self._judge_after:
            return
        try:
            while await self._jobs.rescue(grace=self._jobs.lease) == operations.RESCUE_BATCH:
                pass
        except Exception:
            self._judge_after = time.monotonic() + self._jobs.lease.total_seconds()
            raise

    async def promote(self) -> None:
        """Announce what has become due."""
        await self._jobs.promote(due_since=_RING_WINDOW)
