"""Sends the progress of an attempt in the background: only the latest report, a few times a second."""

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


class ProgressReporter:
    """Starts its task at the first report of the handler. Most handlers never report."""

    def __init__(self, context: Context, jobs: JobsClient, *, on_lost: Callable[[], None]) -> None:
        """`on_lost` is called when the lease is lost."""
        self._context = context
        self._jobs = jobs
        self._on_lost = on_lost
        self._sent: Progress | None = None
        self._reported = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        context.on_progress = self._on_progress

    def stop(self) -> None:
        """Stop the task. `flush` sends the rest."""
        if self._task:
            self._task.cancel()
        self._context.on_progress = lambda progress: None

    async def flush(self) -> None:
        """Send the latest report unless it was sent. Raises the errors of `chassis.errors`."""
        progress = self._context.latest_progress
        if progress is self._sent or progress is None:
            return
        try:
            await self._jobs.report_progress(self._context.key, progress)
        except errors.InvalidArgument as error:
            # A mistake of the handler, but not a reason to discard its work.
            logger.warning("progress refused", extra={"job_id": self._context.job_id, "cause": error.message})
        self._sent = progress

    def _on_progress(self, progress: Progress) -> None:
        self._reported.set()
        if self._task is None:
            self._task = asyncio.create_task(self._send())

    async def _send(self) -> None:
        while True:
            await self._reported.wait()
            self._reported.clear()
            try:
                await self.flush()
            except errors.Aborted:
                self._on_lost()
                return
            except errors.Error as error:
                # A later report follows. Heartbeats detect a longer outage of the jobs service.
                logger.debug("progress not stored", extra={"job_id": self._context.job_id, "cause": error.code})
            await asyncio.sleep(PROGRESS_SECONDS)
