"""One attempt: runs the handler, sends its progress, and delivers the outcome."""

from __future__ import annotations

import asyncio
import enum
import logging
import time
from collections.abc import Callable, Collection

from chassis import errors, protobuf, run, tracing
from repruv.jobs.v1 import job_pb2
from worker._api import outcomes
from worker._api.context import Context
from worker._api.jobs import AttemptKey, Children
from worker._api.outcomes import Cancelled, JobFailed, Snooze, WaitForChildren
from worker._api.retry import backoff
from worker._api.secrets import Secrets
from worker._runtime import failures, recorder
from worker._runtime.invocation import Prepare
from worker._runtime.metrics import KindMetrics
from worker._runtime.progress import AttemptReporter
from worker.client import JobsClient

logger = logging.getLogger(__name__)

CANCEL_GRACE_SECONDS = 10.0
STOP_AGAIN_SECONDS = 1.0
"""The least time between two cancellations of a handler that ignores them."""
MAX_INTERNAL_ERRORS = 5
"""An outcome that causes this many internal errors of the jobs service is taken as refused."""
SLOW_SECONDS = 1.0
"""Attempts that took longer, or did not complete, are logged."""


class StopReason(enum.Enum):
    """Why the worker stopped an attempt."""

    CANCELLED = enum.auto()
    """The handler was asked to stop and did not within the grace period."""
    RELEASED = enum.auto()
    """The worker is shutting down."""
    LOST = enum.auto()
    """The lease is lost: another attempt may run, and the outcome of this one is not wanted."""


class AttemptRunner:
    """Runs one claimed job to its end."""

    def __init__(
        self,
        job: job_pb2.Job,
        prepare: Prepare,
        jobs: JobsClient,
        *,
        metrics: KindMetrics,
        translate: run.Translate,
        on_handler_done: Callable[[], None],
        grace: float = CANCEL_GRACE_SECONDS,
        sensitive: Collection[str] = (),
    ) -> None:
        """`on_handler_done` is called before the outcome is delivered. `grace`: seconds for a handler to stop when asked.

        `sensitive` names fields of the payload whose values are masked in what operators read.
        """
        self.key: AttemptKey = (job.job_id, job.attempt)
        self.context = Context(
            job_id=job.job_id,
            owner_id=job.spec.owner_id,
            kind=job.spec.kind,
            attempt=job.attempt,
            payload=protobuf.from_struct(job.spec.payload),
            children=Children(
                total=job.children.total, ended=job.children.ended, unsuccessful=job.children.unsuccessful
            ),
            service=jobs,
        )
        self.context.on_lost = lambda: self.stop(StopReason.LOST)
        self.is_running = True
        """Whether the handler runs. Afterwards only the outcome is delivered."""
        self._prepare = prepare
        self._payload = job.spec.payload
        self._jobs = jobs
        self._metrics = metrics
        self._translate = translate
        self._on_handler_done = on_handler_done
        self._grace = grace
        self._secrets = Secrets(self.context.payload, sensitive)
        self._recorder = recorder.Recorder(self._secrets.mask)
        self._progress = AttemptReporter(self.context, self._recorder, jobs, on_lost=self.context.on_lost)
        self._timeout, self._has_deadline = _timeout(job)
        self._traceparent = job.spec.traceparent
        self._stop_reason: StopReason | None = None
        self._task: asyncio.Task[None] | None = None
        self._hard_stop: asyncio.TimerHandle | None = None
        self._cancels = 0

    async def run(self) -> None:
        """Run the handler and deliver the outcome. Return when the outcome is stored or the lease is lost."""
        attributes: tracing.Attributes = {
            "job.id": self.context.job_id,
            "job.kind": self.context.kind,
            "job.attempt": self.context.attempt,
        }
        with tracing.root(f"attempt {self.context.kind}", self._traceparent, "consumer", attributes):
            await self._run()

    async def _run(self) -> None:
        self._task = asyncio.current_task()
        started = time.monotonic()
        try:
            outcome = await self._run_handler()
        finally:
            self.is_running = False
            self._on_handler_done()
            self._progress.stop()
            if self._hard_stop:
                self._hard_stop.cancel()
        seconds = time.monotonic() - started
        self._metrics.seconds.observe(seconds)
        delivered = await self._deliver(outcome)
        tracing.note(attributes={"job.outcome": delivered or "lost"})
        if delivered is None:
            self._metrics.lost.inc()
            logger.warning("attempt lost its lease", extra=self._log_fields)
            return
        self._metrics.finished[delivered].inc()
        if seconds > SLOW_SECONDS or delivered != "completed":
            logger.info("attempt ended", extra={**self._log_fields, "outcome": delivered, "seconds": round(seconds, 3)})

    def request_cancel(self) -> None:
        """Ask the handler to stop, and stop it after the grace period."""
        if not self.context.is_cancelled:
            self.context.cancelled.set()
            self._stop_in(self._grace, StopReason.CANCELLED)

    def stop(self, reason: StopReason) -> None:
        """Stop the handler at once; if it ignores that, again after a while."""
        if self._stop_reason in {None, StopReason.CANCELLED} or reason is StopReason.LOST:
            self._stop_reason = reason
        # A task that has not started cannot be cancelled within: it checks the stop reason first.
        if self._task and self.is_running:
            self._cancels += 1
            self._task.cancel()
            self._stop_in(max(self._grace, STOP_AGAIN_SECONDS), reason)

    def _stop_in(self, seconds: float, reason: StopReason) -> None:
        if self._hard_stop:
            self._hard_stop.cancel()
        self._hard_stop = asyncio.get_running_loop().call_later(seconds, self.stop, reason)

    @property
    def _log_fields(self) -> dict[str, object]:
        return {"job_id": self.context.job_id, "kind": self.context.kind, "attempt": self.context.attempt}

    async def _run_handler(self) -> outcomes.Finish:
        if self._stop_reason:
            return self._stop_outcome()
        try:
            with recorder.recording(self._recorder):
                result = await self._handle()
        except outcomes.RAISED as error:
            return self._from_exception(error)
        except TimeoutError as error:
            logger.warning("attempt timed out", extra=self._log_fields)
            # Its cause is the place where the handler was cancelled.
            exception = self._describe(error)
            if self._has_deadline:
                message = "The job was not done in the time that it had."
                return outcomes.failed("deadline_exceeded", message, retryable=False, exception=exception)
            message = f"The attempt took longer than {self._timeout:g} s."
            return outcomes.failed("attempt_timeout", message, retryable=True, exception=exception)
        except asyncio.CancelledError as error:
            if self._stop_reason is not None:
                # The cancellations were for the handler only.
                if self._task:
                    for _ in range(self._cancels):
                        self._task.uncancel()
                return self._stop_outcome()
            if self._task and self._task.cancelling():
                raise
            # The handler raised it without being cancelled.
            return self._internal_failure(error)
        except BaseException as error:  # noqa: BLE001 - SystemExit of a handler must not end the worker and its other jobs
            if isinstance(error, BaseExceptionGroup) and (raised := outcomes.from_group(error)):
                return self._from_exception(raised)
            return self._internal_failure(error)
        try:
            return outcomes.completed(result)
        except Exception as error:
            logger.exception("result is not JSON", extra=self._log_fields)
            return self._refusal_failure(error)

    def _from_exception(self, error: JobFailed | Cancelled | Snooze | WaitForChildren) -> outcomes.Finish:
        try:
            outcome = outcomes.from_exception(error)
        except Exception as broken:  # noqa: BLE001 - a subclass without its fields, a text that cannot be shown
            return self._internal_failure(broken)
        if isinstance(error, JobFailed):
            logger.warning("attempt failed", extra={**self._log_fields, "code": error.code, "cause": error.message})
            outcome.failed.exception.CopyFrom(self._describe(error))
        return outcome

    def _internal_failure(self, error: BaseException) -> outcomes.Finish:
        logger.exception("attempt failed", extra=self._log_fields)
        message = "Something went wrong on our side."
        return outcomes.failed("internal", message, retryable=True, exception=self._describe(error))

    def _refusal_failure(self, error: Exception) -> outcomes.Finish:
        message = f"The outcome could not be stored: {str(error)[:300]}"
        return outcomes.failed("result_refused", message, retryable=False, exception=self._describe(error))

    def _describe(self, error: BaseException) -> job_pb2.JobException:
        return failures.describe(error, self._secrets.mask)

    def _stop_outcome(self) -> outcomes.Finish:
        return outcomes.released() if self._stop_reason is StopReason.RELEASED else outcomes.cancelled("requested")

    async def _handle(self) -> object:
        deadline = asyncio.timeout(self._timeout)
        try:
            async with deadline:
                # Repeats the handler while a part of the system does not answer. An outage does not count against
                # max_attempts. The attempt's timeout and a lost lease bound the loop.
                for pause in backoff():
                    try:
                        with tracing.span(f"handler {self.context.kind}"):
                            return await self._prepare(self.context)()
                    except Exception as error:
                        if (outage := self._outage(error)) is None:
                            raise
                        logger.warning("attempt waits", extra={**self._log_fields, "cause": outage.code})
                    await asyncio.sleep(pause)
                    # The call may have changed its payload.
                    self.context.payload = protobuf.from_struct(self._payload)
                    self.context.restart()
        except TimeoutError:
            if deadline.expired():
                raise
            # Raised by a call of the handler, not by the attempt's timeout: an error like any other.
            raise JobFailed("timeout", "A part of the system did not answer in time.", retryable=True) from None
        raise AssertionError("backoff never ends")

    def _outage(self, error: Exception) -> errors.Unavailable | None:
        """Return what does not answer; None if an error, or one of those of several tasks, says anything else."""
        outage = None
        for leaf in outcomes.leaves(error):
            meaning = (
                leaf if isinstance(leaf, errors.Error) or not isinstance(leaf, Exception) else self._translate(leaf)
            )
            if not isinstance(meaning, errors.Unavailable):
                return None
            outage = meaning
        return outage

    async def _deliver(self, outcome: outcomes.Finish) -> str | None:
        """Send the outcome until it is stored. Return the stored outcome, or None when another attempt has taken over."""
        is_refused = False
        internal_errors = 0
        for pause in backoff(first=0.1):
            if self._stop_reason is StopReason.LOST:
                return None
            try:
                await self._progress.finish(outcome)
                await self._jobs.finish(self.key, outcome)
            except (errors.Aborted, errors.NotFound):
                return None
            except (errors.Unavailable, errors.ResourceExhausted) as error:
                logger.warning("outcome not delivered yet", extra={**self._log_fields, "cause": error.code})
                await asyncio.sleep(pause)
            except errors.Error as error:
                if isinstance(error, errors.Internal):
                    internal_errors += 1
                    if internal_errors % MAX_INTERNAL_ERRORS:
                        logger.warning("outcome not stored yet", extra={**self._log_fields, "cause": error.code})
                        await asyncio.sleep(pause)
                        continue
                # For example too large: a repetition would be refused too.
                logger.exception("outcome refused", extra=self._log_fields)
                if is_refused:
                    return None
                is_refused = True
                outcome = self._refusal_failure(error)
            else:
                return outcome.WhichOneof("outcome")
        return None


def _timeout(job: job_pb2.Job) -> tuple[float, bool]:
    """Return the timeout in seconds, and whether it is the deadline of the whole job."""
    seconds = job.spec.attempt_timeout.ToTimedelta().total_seconds()
    if not job.HasField("time_left"):
        return seconds, False
    # Not by the deadline: the clocks of worker and database differ.
    seconds_left = job.time_left.ToTimedelta().total_seconds()
    return min(seconds, seconds_left), seconds_left < seconds
