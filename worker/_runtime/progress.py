"""Sends the progress of an attempt beside its work: the newest only, a few times a second."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from chassis import errors
from worker._api.context import Context
from worker._api.jobs import Progress
from worker.client import JobsClient

logger = logging.getLogger(__name__)

PROGRESS_SECONDS = 0.15


class Reporter:
    """Begins when a handler first tells its progress; most never do."""

    def __init__(self, context: Context, jobs: JobsClient, *, lost: Callable[[], None]) -> None:
        """`lost` is called when the lease turns out to be gone."""
        self._context = context
        self._jobs = jobs
        self._lost = lost
        self._sent: Progress | None = None
        self._told = asyncio.Event()
        self._sending: asyncio.Task[None] | None = None
        context.on_progress = self._tell

    def stop(self) -> None:
        """End the sending; `flush` sends what is left."""
        if self._sending:
            self._sending.cancel()
        self._context.on_progress = lambda progress: None

    async def flush(self) -> None:
        """Send the newest progress unless it was sent. Raises the errors of `chassis.errors`."""
        progress = self._context.latest_progress
        if progress is self._sent or progress is None:
            return
        try:
            await self._jobs.report_progress(self._context.held, progress)
        except errors.InvalidArgument as error:
            # The handler's mistake, but not worth the work that it has done.
            logger.warning("progress refused", extra={"job_id": self._context.job_id, "cause": error.message})
        self._sent = progress

    def _tell(self, progress: Progress) -> None:
        self._told.set()
        if self._sending is None:
            self._sending = asyncio.create_task(self._send())

    async def _send(self) -> None:
        while True:
            await self._told.wait()
            self._told.clear()
            try:
                await self.flush()
            except errors.Aborted:
                self._lost()
                return
            except errors.Error as error:
                # The next one says more; heartbeats notice if the jobs service stays away.
                logger.debug("progress not stored", extra={"job_id": self._context.job_id, "cause": error.code})
            await asyncio.sleep(PROGRESS_SECONDS)
