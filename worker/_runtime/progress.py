"""Sends the progress of an attempt in the background: only the latest report, a few times a second."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from chassis import errors
from repruv.jobs.v1 import job_pb2, jobs_service_pb2
from worker._api.context import Context
from worker._api.jobs import Progress, progress_to_proto
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
        self._latest: job_pb2.JobProgress | None = None
        self._sent: job_pb2.JobProgress | None = None
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
        progress = self._latest
        if progress is self._sent or progress is None:
            return
        await self._jobs.report_progress(self._context.key, progress)
        self._sent = progress

    def attach(self, completed: jobs_service_pb2.FinishJobRequest.Completed) -> None:
        """Add the latest report to the outcome unless it was sent: this saves a call."""
        if self._latest is not None and self._latest is not self._sent:
            completed.progress.CopyFrom(self._latest)

    def _on_progress(self, progress: Progress) -> None:
        try:
            self._latest = progress_to_proto(progress)
        except (TypeError, ValueError) as error:
            # A mistake of the handler, but not a reason to discard its work.
            logger.warning("progress refused", extra={"job_id": self._context.job_id, "cause": str(error)})
            return
        self._reported.set()
        if self._task is None:
            self._task = asyncio.create_task(self._send())

    async def _send(self) -> None:
        while True:
            await self._reported.wait()
            # Jobs that end within this time never send their progress: it goes with their outcome.
            await asyncio.sleep(PROGRESS_SECONDS)
            self._reported.clear()
            try:
                await self.flush()
            except errors.Aborted:
                self._on_lost()
                return
            except errors.Error as error:
                # A later report follows. Heartbeats detect a longer outage of the jobs service.
                logger.debug("progress not stored", extra={"job_id": self._context.job_id, "cause": error.code})
