"""One attempt: runs the handler, sends its progress, tells the outcome until it is heard or no longer matters."""

from __future__ import annotations

import asyncio
import enum
import logging
import time
from collections.abc import Callable
from datetime import UTC

from chassis import errors, run, values
from repruv.jobs.v1 import job_pb2
from worker._api import outcomes
from worker._api.context import Context
from worker._api.jobs import AttemptKey, Children
from worker._api.outcomes import Cancelled, JobFailed, Snooze, WaitForChildren
from worker._api.retry import backoff
from worker._runtime.invocation import Begin
from worker._runtime.metrics import KindMetrics
from worker._runtime.progress import Reporter
from worker.client import JobsClient

logger = logging.getLogger(__name__)

CANCEL_GRACE_SECONDS = 10.0
SLOW_SECONDS = 1.0
"""Attempts that took longer, or did not complete, are logged."""


class StopReason(enum.Enum):
    """Why an attempt was stopped from outside."""

    CANCELLED = enum.auto()
    """Asked to stop and did not within the grace."""
    RELEASED = enum.auto()
    """The worker is shutting down."""
    LOST = enum.auto()
    """The lease is gone: another attempt may already run, and nobody wants to hear of this one."""


class Attempt:
    """Runs one claimed job to its end."""

    def __init__(
        self,
        job: job_pb2.Job,
        begin: Begin,
        jobs: JobsClient,
        *,
        metrics: KindMetrics,
        translate: run.Translate,
        worked: Callable[[], None],
        grace: float = CANCEL_GRACE_SECONDS,
    ) -> None:
        """`worked` is called when the handler has ended and only the outcome is to be told. `grace`: for one told to stop."""
        self.held: AttemptKey = (job.job_id, job.attempt)
        self.context = Context(
            job_id=job.job_id,
            owner_id=job.spec.owner_id,
            kind=job.spec.kind,
            attempt=job.attempt,
            payload=values.from_struct(job.spec.payload),
            children=Children(
                total=job.children.total, ended=job.children.ended, unsuccessful=job.children.unsuccessful
            ),
            service=jobs,
        )
        self.context.on_lost = lambda: self.stop(StopReason.LOST)
        self.is_working = True
        """Whether the handler runs; else only the outcome is to be told."""
        self._begin = begin
        self._jobs = jobs
        self._metrics = metrics
        self._translate = translate
        self._worked = worked
        self._grace = grace
        self._reporter = Reporter(self.context, jobs, lost=self.context.on_lost)
        self._timeout, self._has_deadline = _timeout(job)
        self._fate: StopReason | None = None
        self._task: asyncio.Task[None] | None = None
        self._hard_stop: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Run the handler and tell the outcome. Returns when the outcome was taken, or when the lease is lost."""
        self._task = asyncio.current_task()
        started = time.monotonic()
        try:
            outcome = await self._outcome()
        finally:
            self.is_working = False
            self._worked()
            self._reporter.stop()
            if self._hard_stop:
                self._hard_stop.cancel()
        seconds = time.monotonic() - started
        self._metrics.seconds.observe(seconds)
        told = await self._tell(outcome)
        if told is None:
            self._metrics.lost.inc()
            logger.warning("attempt lost its lease", extra=self._log)
            return
        self._metrics.finished[told].inc()
        if seconds > SLOW_SECONDS or told != "completed":
            logger.info("attempt ended", extra={**self._log, "outcome": told, "seconds": round(seconds, 3)})

    def request_cancel(self) -> None:
        """Ask the handler to stop; if it does not within the grace, stop it."""
        if not self.context.is_cancelled:
            self.context.cancelled.set()
            self._hard_stop = asyncio.get_running_loop().call_later(self._grace, self.stop, StopReason.CANCELLED)

    def stop(self, fate: StopReason) -> None:
        """Stop the handler at once."""
        if self._fate in {None, StopReason.CANCELLED} or fate is StopReason.LOST:
            self._fate = fate
        # A task that has not begun would never hear of it; it looks at its fate first.
        if self._task and self.is_working:
            self._task.cancel()

    @property
    def _log(self) -> dict[str, object]:
        return {"job_id": self.context.job_id, "kind": self.context.kind, "attempt": self.context.attempt}

    async def _outcome(self) -> outcomes.Finish:
        if self._fate:
            return self._stopped()
        try:
            result = await self._handle()
        except (Cancelled, Snooze, WaitForChildren) as ended:
            return outcomes.of(ended)
        except JobFailed as failed:
            logger.warning("attempt failed", extra={**self._log, "code": failed.code, "cause": failed.message})
            return outcomes.of(failed)
        except TimeoutError:
            logger.warning("attempt timed out", extra=self._log)
            if self._has_deadline:
                message = "The job was not done in the time that it had."
                return outcomes.failed("deadline_exceeded", message, retryable=False)
            message = f"The attempt took longer than {self._timeout:g} s."
            return outcomes.failed("attempt_timeout", message, retryable=True)
        except asyncio.CancelledError:
            if self._fate is None:
                raise
            if self._task:
                # Meant for the handler; what follows goes on as if nothing had been.
                self._task.uncancel()
            return self._stopped()
        except Exception:
            logger.exception("attempt failed", extra=self._log)
            return outcomes.failed("internal", "Something went wrong on our side.", retryable=True)
        try:
            return outcomes.completed(result)
        except (ValueError, TypeError) as error:
            logger.exception("result is nothing that JSON can say", extra=self._log)
            return _refused(error)

    def _stopped(self) -> outcomes.Finish:
        return outcomes.released() if self._fate is StopReason.RELEASED else outcomes.cancelled("requested")

    async def _handle(self) -> object:
        call = self._begin(self.context)
        deadline = asyncio.timeout(self._timeout)
        try:
            async with deadline:
                # Again and again while a part of the system does not answer: the handler goes on where it stopped. That is
                # nobody's fault, and so costs no attempt. The attempt's timeout bounds it, and so does a lost lease.
                for pause in backoff():
                    try:
                        return await call()
                    except Exception as error:
                        known = error if isinstance(error, errors.Error) else self._translate(error)
                        if not isinstance(known, errors.Unavailable):
                            raise
                        logger.warning("attempt waits", extra={**self._log, "cause": known.code})
                    await asyncio.sleep(pause)
                    self.context.begin_again()
        except TimeoutError:
            if deadline.expired():
                raise
            # The handler's own: a call of it took too long. That is an error like any other.
            raise JobFailed("timeout", "A part of the system did not answer in time.", retryable=True) from None
        raise AssertionError("pauses never end")

    async def _tell(self, outcome: outcomes.Finish) -> str | None:
        """Tell it until it is taken; gives which one was, or None when another attempt has taken over."""
        is_refused = False
        for pause in backoff(first=0.1):
            if self._fate is StopReason.LOST:
                return None
            try:
                await self._reporter.flush()
                await self._jobs.finish(self.held, outcome)
            except (errors.Aborted, errors.NotFound):
                return None
            except (errors.Unavailable, errors.ResourceExhausted, errors.Internal) as error:
                logger.warning("outcome not told yet", extra={**self._log, "cause": error.code})
                await asyncio.sleep(pause)
            except errors.Error as error:
                # Too large, for example: the same again would be refused again.
                logger.exception("outcome refused", extra=self._log)
                if is_refused:
                    return None
                is_refused = True
                outcome = _refused(error)
            else:
                return outcome.WhichOneof("outcome")
        return None


def _refused(error: Exception) -> outcomes.Finish:
    message = f"The outcome could not be stored: {str(error)[:300]}"
    return outcomes.failed("result_refused", message, retryable=False)


def _timeout(job: job_pb2.Job) -> tuple[float, bool]:
    """Give how long the attempt may take, in seconds, and whether it is the whole job's time that is up then."""
    seconds = job.spec.attempt_timeout.ToTimedelta().total_seconds()
    if not job.HasField("deadline"):
        return seconds, False
    left = job.deadline.ToDatetime(UTC).timestamp() - time.time()
    return min(seconds, left), left < seconds
