"""Outcomes of an attempt: the exceptions that a handler may raise, and the requests that report them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from chassis import protobuf
from repruv.jobs.v1 import job_pb2, jobs_service_pb2

Finish = jobs_service_pb2.FinishJobRequest
MAX_SNOOZE = timedelta(days=30)
MESSAGE_LENGTH = 500


class JobFailed(Exception):
    """Raised by a handler: the attempt failed. The user reads the message."""

    def __init__(self, code: str, message: str, *, retryable: bool) -> None:
        """`code` is stable; `message` is one sentence without internals; `retryable`: another attempt may succeed."""
        super().__init__(code, message, retryable)
        self.code = code
        self.message = message
        self.retryable = retryable

    def __str__(self) -> str:
        """Return the message, which operators read with the traceback."""
        return self.message

    def __reduce__(self) -> tuple[object, ...]:
        return _job_failed, (self.code, self.message, self.retryable)


class Cancelled(Exception):
    """Raised by a handler: it stopped because it was asked to, or because its work had become pointless."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Discard(Cancelled):
    """Raised by a handler: the job is no longer needed. It ends cancelled with this reason, whatever attempts are left."""


class Snooze(Exception):
    """Raised by a handler: resume later in a new attempt. It does not count against `max_attempts`."""

    def __init__(self, delay: timedelta) -> None:
        """`delay` is above 0 and at most 30 days; otherwise ValueError."""
        if not timedelta(0) < delay <= MAX_SNOOZE:
            raise ValueError("the delay of a snooze must be above 0 and at most 30 days")
        super().__init__(delay)
        self.delay = delay


class WaitForChildren(Exception):
    """Raised by a handler: resume in a new attempt when all children have ended. Does not count against `max_attempts`."""


RAISED = (JobFailed, Cancelled, Snooze, WaitForChildren)
"""The exceptions with which a handler determines the outcome of its attempt."""
for _public in (*RAISED, Discard):
    # Tracebacks, pages and error groups show the name that handlers import.
    _public.__module__ = "worker"


def completed(result: object) -> Finish:
    """Return the outcome of a completed attempt. Raises ValueError or TypeError for a result that is not JSON."""
    return Finish(completed=Finish.Completed(result=protobuf.to_struct({} if result is None else result)))


def failed(code: str, message: str, *, retryable: bool, exception: job_pb2.JobException | None = None) -> Finish:
    """Return the outcome of a failed attempt; operators read the exception."""
    error = job_pb2.JobError(code=_text(code), message=_text(message))
    return Finish(failed=Finish.Failed(error=error, retryable=retryable, exception=exception))


def cancelled(reason: str) -> Finish:
    """Return the outcome of a handler that stopped."""
    return Finish(cancelled=Finish.Cancelled(reason=_text(reason)))


def released() -> Finish:
    """Return the outcome with which a worker hands a job back unfinished."""
    return Finish(released=Finish.Released())


def snoozed(delay: timedelta) -> Finish:
    """Return the outcome of a handler that resumes after a delay."""
    finish = Finish(snoozed=Finish.Snoozed())
    finish.snoozed.delay.FromTimedelta(delay)
    return finish


def waiting() -> Finish:
    """Return the outcome of a handler that resumes when its children have ended."""
    return Finish(waiting=Finish.Waiting())


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield the errors of a group, also of groups in it; an error that is no group is its own only one."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves(inner)
    else:
        yield error


def from_group(group: BaseExceptionGroup[BaseException]) -> JobFailed | Cancelled | Snooze | WaitForChildren | None:
    """Return the exception that decides how an attempt of several tasks ends: failures come first.

    None if the group contains any other error: then the attempt failed for an internal reason.
    """
    raised = list(leaves(group))
    for kind in (JobFailed, Cancelled, Snooze, WaitForChildren):
        for leaf in raised:
            if isinstance(leaf, kind) and all(isinstance(leaf_error, RAISED) for leaf_error in raised):
                return leaf
    return None


def from_exception(error: JobFailed | Cancelled | Snooze | WaitForChildren) -> Finish:
    """Return the outcome that an exception of a handler means."""
    match error:
        case JobFailed():
            return failed(error.code, error.message, retryable=error.retryable)
        case Cancelled():
            return cancelled(error.reason)
        case Snooze():
            return snoozed(error.delay)
        case WaitForChildren():
            return waiting()


def _text(value: object) -> str:
    """Return text that protobuf accepts, whatever a handler has raised: an odd text must not lose the outcome."""
    return str(value)[:MESSAGE_LENGTH].encode(errors="replace").decode()


def _job_failed(code: str, message: str, retryable: bool) -> JobFailed:
    return JobFailed(code, message, retryable=retryable)
