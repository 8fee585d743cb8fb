"""One attempt: runs the handler, sends its progress, tells the outcome until it is heard or no longer matters."""

from __future__ import annotations

import asyncio
import enum
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from google.protobuf import json_format

from chassis import errors, run
from repruv.jobs.v1 import job_pb2
from worker.client import Held, JobsClient
from worker.context import Cancelled, Context, JobFailed, Progress

logger = logging.getLogger(__name__)

Handler = Callable[[Context], Awaitable[Mapping[str, Any] | None]]

PROGRESS_SECONDS = 0.15
CANCEL_GRACE_SECONDS = 10.0
_PAUSE_MAX = 2.0


class Fate(enum.Enum):
    """Why an attempt was stopped from outside."""

    CANCELLED = enum.auto()
    """Asked to stop and did not within the grace."""
    RELEASED = enum.auto()
    """The worker is shutting down."""
    LOST = enum.auto()
    """The lease is gone: another attempt may already run, and nobody wants to hear of this one."""


class Attempt:
    """Runs one claimed job to its end."""

    def __init__(self, job: job_pb2.Job, handler: Handler, jobs: JobsClient, *, translate: run.Translate) -> None:
        self.held: Held = (job.job_id, job.attempt)
        self.context = Context(
            job_id=job.job_id,
            owner_id=job.spec.owner_id,
            kind=job.spec.kind,
            attempt=job.attempt,
            payload=json_format.MessageToDict(job.spec.payload),
        )
        self._handler = handler
        self._jobs = jobs
        self._translate = translate
        self._timeout = job.spec.attempt_timeout.ToTimedelta().total_seconds()
        self._reported: Progress | None = None
        self._refusal = ""
        self._fate: Fate | None = None
        self._work: asyncio.Task[Mapping[str, Any] | None] | None = None
        self._hard_stop: asyncio.TimerHandle | None = None
        self._log = {"job_id": job.job_id, "kind": job.spec.kind, "attempt": job.attempt}

    async def run(self) -> None:
        """Run the handler and tell the outcome. Returns when the outcome was taken, or when the lease is lost."""
        logger.info("attempt begins", extra=self._log)
        reporter = asyncio.create_task(self._report_progress())
        try:
            tell = await self._outcome()
        finally:
            reporter.cancel()
            if self._hard_stop:
                self._hard_stop.cancel()
        if self._fate is Fate.LOST:
            logger.warning("attempt lost its lease", extra=self._log)
            return
        await self._tell(tell)

    @property
    def is_working(self) -> bool:
        """Whether the handler runs; else only the outcome is to be told."""
        return self._work is None or not self._work.done()

    def request_cancel(self) -> None:
        """Ask the handler to stop; if it does not within the grace, stop it."""
        if not self.context.is_cancelled:
            self.context.cancelled.set()
            loop = asyncio.get_running_loop()
            self._hard_stop = loop.call_later(CANCEL_GRACE_SECONDS, self.stop, Fate.CANCELLED)

    def stop(self, fate: Fate) -> None:
        """Stop the handler at once."""
        if self._fate in {None, Fate.CANCELLED} or fate is Fate.LOST:
            self._fate = fate
        if self._work:
            self._work.cancel()

    async def _outcome(self) -> Callable[[], Awaitable[None]]:
        self._work = asyncio.ensure_future(self._handle())
        if self._fate:
            self._work.cancel()
        try:
            result = await self._work
        except Cancelled as stopped:
            logger.info("attempt cancelled", extra={**self._log, "reason": stopped.reason})
            reason = stopped.reason
            return lambda: self._jobs.cancel(self.held, reason)
        except JobFailed as failed:
            logger.warning("attempt failed", extra={**self._log, "code": failed.code, "cause": failed.message})
            code, message, retryable = failed.code, failed.message, failed.retryable
            return lambda: self._jobs.fail(self.held, code=code, message=message, retryable=retryable)
        except TimeoutError:
            logger.warning("attempt timed out", extra=self._log)
            message = f"The attempt took longer than {self._timeout:g} s."
            return lambda: self._jobs.fail(self.held, code="attempt_timeout", message=message, retryable=True)
        except asyncio.CancelledError:
            if self._fate is Fate.RELEASED:
                return lambda: self._jobs.release(self.held)
            if self._fate is None:
                raise
            return lambda: self._jobs.cancel(self.held, "requested")
        except Exception:
            logger.exception("attempt failed", extra=self._log)
            message = "Something went wrong on our side."
            return lambda: self._jobs.fail(self.held, code="internal", message=message, retryable=True)
        return lambda: self._jobs.complete(self.held, result or {})

    async def _handle(self) -> Mapping[str, Any] | None:
        deadline = asyncio.timeout(self._timeout)
        try:
            async with deadline:
                return await self._handle_through_outages()
        except TimeoutError:
            if deadline.expired():
                raise
            # The handler's own: a call of it took too long. That is an error like any other.
            raise JobFailed("timeout", "A part of the system did not answer in time.", retryable=True) from None

    async def _handle_through_outages(self) -> Mapping[str, Any] | None:
        """Call the handler again while a part of the system does not answer: it goes on where it stopped.

        That is nobody's fault, and so costs no attempt. The attempt's timeout bounds it, and so does a lost lease.
        """
        pause = 0.2
        while True:
            try:
                return await self._handler(self.context)
            except Exception as error:
                known = error if isinstance(error, errors.Error) else self._translate(error)
                if not isinstance(known, errors.Unavailable):
                    raise
                logger.warning("attempt waits", extra={**self._log, "cause": known.code})
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311
            pause = min(pause * 2, _PAUSE_MAX)

    async def _tell(self, tell: Callable[[], Awaitable[None]]) -> None:
        pause = 0.1
        while self._fate is not Fate.LOST:
            try:
                await self._flush_progress()
                await tell()
            except (errors.Aborted, errors.NotFound):
                logger.warning("outcome came too late: another attempt has taken over", extra=self._log)
                return
            except (errors.Unavailable, errors.ResourceExhausted, errors.Internal) as error:
                logger.warning("outcome not told yet", extra={**self._log, "cause": error.code})
            except (errors.Error, ValueError, TypeError) as error:
                # Too large, or nothing that JSON can say: the same again would be refused again.
                logger.exception("outcome refused", extra=self._log)
                if tell == self._tell_refused:
                    return
                tell = self._tell_refused
                self._refusal = str(error)[:300]
            else:
                logger.info("attempt ended", extra=self._log)
                return
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311
            pause = min(pause * 2, _PAUSE_MAX)

    async def _tell_refused(self) -> None:
        message = f"The outcome could not be stored: {self._refusal}"
        await self._jobs.fail(self.held, code="result_refused", message=message, retryable=False)

    async def _report_progress(self) -> None:
        while True:
            await self.context.progressed.wait()
            self.context.progressed.clear()
            try:
                await self._flush_progress()
            except errors.Aborted:
                self.stop(Fate.LOST)
                return
            except errors.Error as error:
                # The next one says more; heartbeats notice if the jobs service stays away.
                logger.debug("progress not stored", extra={**self._log, "cause": error.code})
            await asyncio.sleep(PROGRESS_SECONDS)

    async def _flush_progress(self) -> None:
        progress = self.context.latest_progress
        if progress is self._reported or progress is None:
            return
        try:
            await self._jobs.report_progress(self.held, progress)
        except errors.InvalidArgument as error:
            # The handler's mistake, but not worth the work that it has done.
            logger.warning("progress refused", extra={**self._log, "cause": error.message})
        self._reported = progress
