"""Sends progress and log lines of an attempt in the background, a few times a second; of progress only the latest report."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable

from chassis import errors
from repruv.jobs.v1 import job_pb2, jobs_service_pb2
from worker._api.context import Context
from worker._api.jobs import Progress, progress_to_proto
from worker._runtime.recorder import Recorder
from worker.client import JobsClient

logger = logging.getLogger(__name__)

PROGRESS_SECONDS = 0.15
LINES_SECONDS = 0.5
"""Between two calls that carry log lines only."""
ATTACHED_BYTES = 32 * 1024
"""Log lines that go with an outcome. More are sent before it."""


class AttemptReporter:
    """Starts its task at the first report or log line of the handler. Most handlers do neither."""

    def __init__(self, context: Context, recorder: Recorder, jobs: JobsClient, *, on_lost: Callable[[], None]) -> None:
        """`on_lost` is called when the lease is lost."""
        self._context = context
        self._recorder = recorder
        self._jobs = jobs
        self._on_lost = on_lost
        self._latest: job_pb2.JobProgress | None = None
        self._sent: job_pb2.JobProgress | None = None
        self._reported = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        context.on_progress = self._on_progress
        recorder.on_line = self._wake

    def stop(self) -> None:
        """Stop the task. `flush` sends the rest."""
        if self._task:
            self._task.cancel()
        self._context.on_progress = lambda progress: None
        self._recorder.on_line = lambda: None
        self._recorder.close()

    async def flush(self) -> None:
        """Send what was not sent yet: the latest report and the log lines. Raises the errors of `chassis.errors`."""
        while self._has_news:
            await self._send_next()

    async def _send_next(self) -> None:
        """Send the latest report and as many log lines as one call carries."""
        progress = self._latest if self._latest is not self._sent else None
        lines = self._recorder.next_unsent()
        await self._jobs.report_progress(self._context.key, progress, lines)
        self._recorder.drop_sent(lines)
        self._sent = progress or self._sent

    async def finish(self, outcome: jobs_service_pb2.FinishJobRequest) -> None:
        """Add to an outcome what was not sent yet, which saves a call, or send it before. Raises as `flush`."""
        lines = self._recorder.next_unsent()
        is_attached = outcome.HasField("completed") or self._latest is self._sent
        if not is_attached or sum(len(line.text) for line in lines) > ATTACHED_BYTES:
            await self.flush()
            lines = []
        if outcome.HasField("completed") and self._latest is not None and self._latest is not self._sent:
            outcome.completed.progress.CopyFrom(self._latest)
        del outcome.lines[:]
        outcome.lines.extend(lines)

    @property
    def _has_news(self) -> bool:
        return self._latest is not self._sent or self._recorder.has_unsent

    def _on_progress(self, progress: Progress) -> None:
        try:
            self._latest = progress_to_proto(progress)
        except (TypeError, ValueError) as error:
            # A mistake of the handler, but not a reason to discard its work.
            logger.warning("progress refused", extra={"job_id": self._context.job_id, "cause": str(error)})
            return
        self._wake()

    def _wake(self) -> None:
        self._reported.set()
        if self._task is None:
            self._task = asyncio.create_task(self._send(), context=contextvars.Context())

    async def _send(self) -> None:
        while True:
            await self._reported.wait()
            # Jobs that end within this time never send their progress: it goes with their outcome.
            await asyncio.sleep(PROGRESS_SECONDS)
            if self._latest is self._sent:
                await asyncio.sleep(LINES_SECONDS - PROGRESS_SECONDS)
            self._reported.clear()
            try:
                # One call, whatever the handler reports meanwhile.
                await self._send_next()
            except errors.Aborted:
                self._on_lost()
                return
            except errors.Error as error:
                # Heartbeats detect a longer outage of the jobs service.
                logger.debug("progress not stored", extra={"job_id": self._context.job_id, "cause": error.code})
            if self._has_news:
                self._reported.set()
