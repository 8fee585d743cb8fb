"""Breaks a part of the system while a user's demo job runs, and measures when the job continues (decision 0057).

Progress is what the demo service has committed: the rows of the user's demo mode.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator

from chassis import errors
from gateway import clients, views
from gateway.clients.launcher import Break, Launcher
from repruv.demo.v1 import demo_service_pb2
from repruv.jobs.v1 import job_pb2

logger = logging.getLogger(__name__)

WATCH_SECONDS = 60.0
"""How long a break is watched for progress."""
POLL_SECONDS = 0.1
ANSWER_SECONDS = 8.0
"""How long an action waits until the services answer again, so that the page can be shown."""
WORKER = "worker"
_BREAKABLE = frozenset({job_pb2.JOB_STATE_RUNNING, job_pb2.JOB_STATE_RETRYING})


class Breaks:
    """Breaks parts by the launcher, which remembers the results: any gateway process can show them."""

    def __init__(self, launcher: Launcher, demo: clients.Demo) -> None:
        self.launcher = launcher
        self._demo = demo
        self._watches: set[asyncio.Task[None]] = set()

    async def break_part(self, part: str, *, identity: str) -> None:
        """Break `part` while the user's demo job runs. Raises `FailedPrecondition` without one, or when one is broken."""
        before = await self._demo.get_demo(identity)
        if views.demo_state(before.demo) != "enabling" or before.job.state not in _BREAKABLE:
            raise errors.FailedPrecondition("No demo job is running.", code="nothing_to_break")
        broken = await self.launcher.break_part(part, job_id=before.demo.job_id)
        watch = asyncio.create_task(self._watch(broken, before, identity), name=f"watch {broken.break_id}")
        self._watches.add(watch)
        watch.add_done_callback(self._watches.discard)
        await self._answers_again(identity)

    async def _watch(self, broken: Break, before: demo_service_pb2.GetDemoResponse, identity: str) -> None:
        """Note the first progress after the break, if there is any within a minute."""
        rows: int | None = None
        async for now in self._reads(identity, WATCH_SECONDS):
            if now.demo.job_id != broken.job_id:
                break
            written = now.demo.stats.interactions_written
            # The first answer is the progress committed before the fault.
            rows = written if rows is None else rows
            # A commit may still arrive from a dead worker: the next attempt counts.
            is_next = broken.part != WORKER or now.job.attempt > before.job.attempt
            if written > rows and is_next:
                await self._note(broken)
                break

    async def _note(self, broken: Break) -> None:
        try:
            await self.launcher.note_progress(broken.break_id)
        except errors.Error as error:
            logger.warning("progress after a break is not noted", extra={"cause": error.code})

    async def _answers_again(self, identity: str) -> None:
        async for _ in self._reads(identity, ANSWER_SECONDS):
            break

    async def _reads(self, identity: str, seconds: float) -> AsyncIterator[demo_service_pb2.GetDemoResponse]:
        """Yield the user's demo mode again and again for `seconds`, except while it cannot be read."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if (now := await self._read(identity)) is not None:
                yield now
            await asyncio.sleep(POLL_SECONDS)

    async def _read(self, identity: str) -> demo_service_pb2.GetDemoResponse | None:
        try:
            return await self._demo.get_demo.quick(identity)
        except errors.Error:
            # A part is away: the next read may find it.
            return None
