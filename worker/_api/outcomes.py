"""How an attempt ends, other than with a result: what a handler may raise, and what the jobs service is told."""

from __future__ import annotations

from datetime import timedelta

from chassis import values
from repruv.jobs.v1 import job_pb2, jobs_service_pb2

Finish = jobs_service_pb2.FinishJobRequest
MAX_SNOOZE = timedelta(days=30)
MESSAGE_LENGTH = 500


class JobFailed(Exception):
    """Raised by a handler: the attempt failed, for a reason that the user may read."""

    def __init__(self, code: str, message: str, *, retryable: bool) -> None:
        """`code` is stable, `message` one sentence without internals; `retryable`: another attempt may help."""
        super().__init__(code, message, retryable)
        self.code = code
        self.message = message
        self.retryable = retryable

    def __reduce__(self) -> tuple[object, ...]:
        return _failed, (self.code, self.message, self.retryable)


class Cancelled(Exception):
    """Raised by a handler: it stopped since it was asked to, or since its work had become pointless."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Discard(Cancelled):
    """Raised by a handler: nobody needs this job any more. It ends cancelled, with this reason, whatever attempts are left."""


class Snooze(Exception):
    """Raised by a handler: go on after a while, in a new attempt that costs nothing of the budget."""

    def __init__(self, delay: timedelta) -> None:
        """`delay` is above 0 and at most 30 days; else ValueError."""
        if not timedelta(0) < delay <= MAX_SNOOZE:
            raise ValueError("a job can be snoozed for more than nothing and at most 30 days")
        super().__init__(delay)
        self.delay = delay


class WaitForChildren(Exception):
    """Raised by a handler: go on when all children have ended, in a new attempt that costs nothing of the budget."""


def completed(result: object) -> Finish:
    """The work is done. Raises ValueError or TypeError for a result that JSON cannot say."""
    return Finish(completed=Finish.Completed(result=values.to_struct({} if result is None else result)))


def failed(code: str, message: str, *, retryable: bool) -> Finish:
    """An error."""
    error = job_pb2.JobError(code=code, message=message[:MESSAGE_LENGTH])
    return Finish(failed=Finish.Failed(error=error, retryable=retryable))


def cancelled(reason: str) -> Finish:
    """The handler stopped."""
    return Finish(cancelled=Finish.Cancelled(reason=reason))


def released() -> Finish:
    """The worker hands the job back unfinished."""
    return Finish(released=Finish.Released())


def snoozed(delay: timedelta) -> Finish:
    """The handler goes on later."""
    finish = Finish(snoozed=Finish.Snoozed())
    finish.snoozed.delay.FromTimedelta(delay)
    return finish


def waiting() -> Finish:
    """The handler goes on when the children have ended."""
    return Finish(waiting=Finish.Waiting())


def of(error: JobFailed | Cancelled | Snooze | WaitForChildren) -> Finish:
    """What a handler meant by raising this."""
    match error:
        case JobFailed():
            return failed(error.code, error.message, retryable=error.retryable)
        case Cancelled():
            return cancelled(error.reason)
        case Snooze():
            return snoozed(error.delay)
        case WaitForChildren():
            return waiting()


def _failed(code: str, message: str, retryable: bool) -> JobFailed:
    return JobFailed(code, message, retryable=retryable)
