"""Outcomes of attempts, and what follows from them for the job. Pure."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from services.jobs.domain import DEADLINE_EXCEEDED, Action, Job, JobError, LogLine, Progress, Spec, State

CRASH_LIMIT = 5
"""After this many crashes since its submit, retry or last planned pause a job fails: it probably causes them."""
SUSPECT_CRASHES = 2
"""A job with so many crashes is a suspect: a worker starts one suspect at a time, so its crashes count for no other one."""
MAX_PROBATION = timedelta(minutes=5)
"""The longest time for which a suspect keeps others from its worker: until it has run for longer than when it crashed."""
RESCUE_JITTER = timedelta(seconds=5)
"""The time by which the rescues of two crashes that happened equally soon may differ."""
FORGIVEN_CRASHES = 20
"""Crashes of a job that its workers may have survived; further ones count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExceptionInfo:
    """The exception that failed an attempt, for operators; JobException in the protos documents each field."""

    type: str
    message: str = ""
    traceback: str = ""
    place: str = ""


def fingerprint(kind: str, outcome: Outcome) -> str | None:
    """Return what failures with the same cause have in common: 16 hexadecimal digits; None for no failure."""
    if isinstance(outcome, Crashed):
        parts = ["worker_crashed"]
    elif isinstance(outcome, Failed):
        exception = outcome.exception or ExceptionInfo(type="")
        parts = [outcome.error.code, exception.type, exception.place]
    else:
        return None
    return hashlib.blake2s("\0".join([kind, *parts]).encode(), digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reported:
    """An outcome that a worker reports."""

    lines: tuple[LogLine, ...] = field(default=(), compare=False)
    """The last log lines of the attempt."""
    kind_prefix: str = field(default="", compare=False)
    """The beginning of all kinds of the service that reports it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed(_Reported):
    """The handler finished."""

    result: dict[str, Any] = field(default_factory=dict)
    progress: Progress | None = None
    """The last progress, unless it is stored already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed(_Reported):
    """The handler raised."""

    error: JobError
    retryable: bool
    exception: ExceptionInfo | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled(_Reported):
    """The handler stopped."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Released(_Reported):
    """The worker handed the job back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snoozed(_Reported):
    """The handler resumes later, in a new attempt that does not count against max_attempts."""

    delay: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting(_Reported):
    """The handler resumes when all children have ended, in a new attempt that does not count against max_attempts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Crashed:
    """The worker died: its lease has expired."""

    counts: bool = True
    """Whether the job may be the cause."""


ReportedOutcome = Completed | Failed | Cancelled | Released | Snoozed | Waiting
Outcome = ReportedOutcome | Crashed


def outcome_name(outcome: Outcome) -> str:
    return type(outcome).__name__.lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What happens to a job: the action, its reason, and the columns that change."""

    action: Action
    reason: str
    result: dict[str, Any] | None = None
    error: JobError | None = None
    cancel_reason: str | None = None
    delay: timedelta = timedelta()
    awaits_children: bool = False
    max_attempts: int
    crashes: int
    errors: int


def decide(job: Job, outcome: Outcome, *, jitter: float) -> Decision:
    """Decide what happens to a held job when its attempt ends. `jitter` is a random number from 0 to 1."""
    cancel = Decision(
        action=Action.CANCEL,
        reason="cancelled",
        cancel_reason=job.cancel_reason or "requested",
        max_attempts=job.max_attempts,
        crashes=job.crashes,
        errors=job.errors,
    )
    fail = replace(cancel, action=Action.FAIL, reason="failed", cancel_reason=None)
    # An attempt that ends without an error of the handler raises `max_attempts`: `attempt` never exceeds it.
    again = replace(fail, action=Action.RETRY_LATER, error=job.error, max_attempts=job.max_attempts + 1)
    # A planned pause proves that the handler works: reset the budgets of errors and crashes.
    with_full_budgets = replace(again, max_attempts=again.max_attempts + job.errors, crashes=0, errors=0)
    crashes = job.crashes + (isinstance(outcome, Crashed) and outcome.counts)
    match outcome:
        case Completed(result=result):
            return replace(fail, action=Action.COMPLETE, reason="completed", result=result)
        case Cancelled(reason=reason):
            return replace(cancel, cancel_reason=reason)
        case Failed(error=error, retryable=retryable):
            failed = replace(fail, error=error, errors=job.errors + 1)
            if retryable and job.state is State.RUNNING and job.attempt < job.max_attempts:
                delay = backoff(job.spec, failed.errors, jitter=jitter)
                retry = replace(failed, action=Action.RETRY_LATER, reason="attempt_failed", delay=delay)
                # A backoff must end before the deadline. The handler's error says more than `deadline_exceeded`.
                return failed if _is_late(job, delay) else retry
            return failed
        case Released() | Snoozed() | Waiting() | Crashed() if job.state is State.CANCELLING:
            # No worker runs it, and its owner has cancelled it.
            return cancel
        case Crashed() if crashes >= CRASH_LIMIT:
            error = JobError(
                code="worker_crashed", message=f"The worker died {CRASH_LIMIT} times while running this job."
            )
            return replace(fail, reason="lease_expired", error=error, crashes=crashes)
        case Released() | Snoozed() | Crashed() if _is_late(job):
            return replace(fail, reason="deadline_exceeded", error=DEADLINE_EXCEEDED, crashes=crashes)
        case Released():
            return replace(again, reason="released")
        case Snoozed(delay=delay):
            return replace(with_full_budgets, action=Action.SNOOZE, reason="snoozed", delay=delay)
        case Waiting():
            awaits = job.children.ended < job.children.total
            return replace(with_full_budgets, action=Action.SNOOZE, reason="waiting", awaits_children=awaits)
        case Crashed():
            return replace(again, reason="lease_expired", crashes=crashes)


def _is_late(job: Job, delay: timedelta = timedelta()) -> bool:
    """Return whether the deadline passes before the next attempt."""
    return job.time_left is not None and job.time_left <= delay


def backoff(spec: Spec, error_count: int, *, jitter: float) -> timedelta:
    """Return the backoff after the `error_count`-th error: exponential, capped, full jitter (AWS Architecture Blog, 2015)."""
    # In seconds: a product of timedeltas may overflow.
    seconds = spec.backoff.total_seconds() * 2 ** min(error_count - 1, 30)
    return timedelta(seconds=min(spec.max_backoff.total_seconds(), seconds) * jitter)


def jitter() -> float:
    """Return a random number for `decide`."""
    return random.random()  # noqa: S311 - spreads retries, hides nothing
