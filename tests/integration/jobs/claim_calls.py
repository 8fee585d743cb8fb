"""ClaimJobs calls that wait at a replica."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from services.jobs import domain
from services.jobs.operations import Operations

Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]
LONG = timedelta(seconds=20)
SOON = 15.0
"""Seconds: before the end of a long wait."""


class Callers:
    """The waiting ClaimJobs calls of one replica."""

    def __init__(self, jobs: Operations, eventually: Eventually) -> None:
        self.jobs = jobs
        self._eventually = eventually

    async def call(
        self, *kinds: str, limit: int = 1, wait: timedelta = LONG, worker: str = "waits"
    ) -> list[domain.Job]:
        """Claim as a worker does."""
        return await self.jobs.long_poll.claim(worker=worker, kinds=kinds, limit=limit, wait=wait)

    async def waiting(self, *kinds: str, limit: int = 1, wait: timedelta = LONG) -> asyncio.Task[list[domain.Job]]:
        """Start a call that waits."""
        before = self.jobs.waiters.count
        task = asyncio.create_task(self.call(*kinds, limit=limit, wait=wait))
        await self.come(before + 1)
        return task

    async def resting(self, *kinds: str, limit: int = 1, worker: str = "waits") -> asyncio.Task[list[domain.Job]]:
        """Start a call that has found no job and is idle."""
        before = self.jobs.waiters.count
        task = asyncio.create_task(self.call(*kinds, limit=limit, worker=worker))

        async def is_idle() -> bool:
            # A call for a drained kind is idle at once.
            return self.jobs.waiters.count > before and self.jobs.waiters.longest_idle(kinds) is not None

        await self._eventually(is_idle)
        return task

    async def come(self, count: int) -> None:
        """Wait until `count` calls wait."""

        async def has_come() -> bool:
            return self.jobs.waiters.count == count

        await self._eventually(has_come)


async def claimed_ids(call: asyncio.Task[list[domain.Job]]) -> list[Any]:
    """Return the ids of the jobs that a call returns."""
    async with asyncio.timeout(SOON):
        return [job.job_id for job in await call]
