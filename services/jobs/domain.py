"""Jobs, their states and transitions. Pure: no clock, no database, no network."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Self
from uuid import UUID

from chassis import errors

SYSTEM = UUID(int=0)
"""The owner of jobs that the system submits."""
ALL_KINDS = "*"
"""The name for all kinds together, for limits and pauses only."""
UNDO = ".undo"
"""The suffix of a kind's undo kind."""
BULK = "jobs.bulk"
"""The kind that changes jobs of all owners. Its owner is an admin when it is submitted, and may be none later."""
GROUP = "jobs.group"
"""The kind whose jobs have no work of their own: they end as their children do."""
LEGACY = "legacy."
"""The prefix of kinds whose jobs ran in the old system. They are history: no worker runs them."""
CHILDREN_FAILED = "children_failed"
"""The error code of a parent that failed because a child did not complete."""
OVERRUN_GRACE = timedelta(minutes=1)
"""Time after attempt_timeout for the worker to end the attempt; then the reconciler ends it."""
LONG_RUN = timedelta(minutes=1)
"""The run time from which the end of a notifying job is published: its owner may have left meanwhile."""

KEPT_ATTEMPTS = 1_000
"""The newest attempts of a job that are kept, and the events of these: a job that snoozes may live for years."""
ON_HOLD = datetime(9999, 1, 1, tzinfo=UTC)
"""The `run_at` of a job on hold, and only of such a job: specs are bounded below it. The database compares with the same time."""

RECORDED_ATTEMPTS = 20
"""The newest attempts of a job that keep their log lines; as many failures keep their tracebacks."""
MAX_LOG_LINES = 1_000
MAX_LOG_BYTES = 128 * 1024
"""Log lines of an attempt, and the bytes of their texts. The database enforces both."""
MAX_LINE_BYTES = 4 * 1024
MAX_TRACEBACK_BYTES = 16 * 1024
MAX_EXCEPTION_BYTES = 2 * 1024

SMALL_PAYLOAD_BYTES = 16 * 1024
"""Events, lists and changed jobs leave out larger payloads: reading one takes milliseconds of the event loop."""
CLAIM_BYTES = 512 * 1024
"""A claim ends with the job whose payload reaches this size: the conversion of more would delay heartbeats."""

DELETED_ID_LIFETIME = timedelta(days=7)
"""How long after its creation a deleted job is known: an outbox may repeat its submit for this long."""

_UNDO_KEY = "undo:"
_NAME = re.compile(r"[a-z0-9_.-]{1,100}")


class State(StrEnum):
    SCHEDULED = "scheduled"
    """Waits for run_at, for its children or, on hold, for its release. The reconciler of any replica ends this state; a crash
    loses nothing."""
    PENDING = "pending"
    """Can be claimed once it has a slot of its concurrency key. A claim, a cancel or its deadline ends this state; a
    lost wake-up delays the claim by a second."""
    RUNNING = "running"
    """A worker holds the lease. The end of the attempt ends this state; after a crash a rescue does, when the lease expires."""
    RETRYING = "retrying"
    """Waits until run_at for its next attempt. A claim, a cancel or its deadline ends this state."""
    CANCELLING = "cancelling"
    """The worker was asked to stop. The end of the attempt ends this state, whatever the outcome; after a crash a rescue does."""
    COMPLETED = "completed"
    """The handler finished. Final."""
    FAILED = "failed"
    """No attempt remains, or the error was final. Only a retry by its owner reopens it."""
    CANCELLED = "cancelled"
    """Stopped before its work was done. Only a retry by its owner reopens it."""


FINISHED = frozenset({State.COMPLETED, State.FAILED, State.CANCELLED})
FIRST_CLAIM = 2
"""The version of a job after its first claim; version 1 is the submit."""
CLAIMABLE = frozenset({State.PENDING, State.RETRYING})
HELD = frozenset({State.RUNNING, State.CANCELLING})
"""States in which a worker holds the lease."""


class Action(StrEnum):
    """The actions that change a job's state."""

    PROMOTE = "promote"
    CLAIM = "claim"
    COMPLETE = "complete"
    FAIL = "fail"
    RETRY_LATER = "retry_later"
    SNOOZE = "snooze"
    FAIL_OVERDUE = "fail_overdue"
    HOLD = "hold"
    RELEASE = "release"
    REQUEST_CANCEL = "request_cancel"
    CANCEL = "cancel"
    RETRY = "retry"


TRANSITIONS: Mapping[Action, tuple[frozenset[State], State]] = {
    Action.PROMOTE: (frozenset({State.SCHEDULED}), State.PENDING),
    Action.CLAIM: (CLAIMABLE, State.RUNNING),
    # A handler that finishes or fails before it stops wins over the cancel.
    Action.COMPLETE: (HELD, State.COMPLETED),
    Action.FAIL: (HELD, State.FAILED),
    Action.RETRY_LATER: (frozenset({State.RUNNING}), State.RETRYING),
    # Until run_at, or until the last child has ended.
    Action.SNOOZE: (frozenset({State.RUNNING}), State.SCHEDULED),
    Action.FAIL_OVERDUE: (frozenset({State.SCHEDULED, State.PENDING, State.RETRYING}), State.FAILED),
    Action.HOLD: (frozenset({State.SCHEDULED, State.PENDING, State.RETRYING}), State.SCHEDULED),
    # To its former run_at; a promotion follows once that has passed.
    Action.RELEASE: (frozenset({State.SCHEDULED}), State.SCHEDULED),
    Action.REQUEST_CANCEL: (frozenset({State.RUNNING}), State.CANCELLING),
    Action.CANCEL: (
        frozenset({State.SCHEDULED, State.PENDING, State.RETRYING, State.RUNNING, State.CANCELLING}),
        State.CANCELLED,
    ),
    Action.RETRY: (frozenset({State.FAILED, State.CANCELLED}), State.PENDING),
}
"""Action -> (source states, target state). The guards of all updates are built from this table."""
UNCLAIMED = TRANSITIONS[Action.FAIL_OVERDUE][0]
"""States in which a job waits for a claim, and its deadline can fail it."""
DELAYED = frozenset({TRANSITIONS[Action.SNOOZE][1], TRANSITIONS[Action.RETRY_LATER][1]})
"""States in which a job may wait for run_at."""
ORPHANS_CHILDREN = FINISHED - {State.COMPLETED} | {State.CANCELLING}
"""States of a parent in which its unfinished children are cancelled."""
_BEFORE_FIRST_OUTCOME = frozenset({State.SCHEDULED, State.PENDING, State.RUNNING})
OCCUPIES_SLOT = HELD | {TRANSITIONS[Action.RETRY_LATER][1]}
"""States in which a job takes a slot of its concurrency key whether it is ready or not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """A job as its caller specifies it; JobSpec in the protos documents each field and its bounds."""

    kind: str
    owner_id: UUID
    payload: dict[str, Any]
    priority: int = 0
    run_at: datetime | None = None
    max_attempts: int = 3
    backoff: timedelta = timedelta(seconds=1)
    max_backoff: timedelta = timedelta(seconds=60)
    attempt_timeout: timedelta = timedelta(minutes=10)
    total_timeout: timedelta | None = None
    unique_key: str | None = None
    concurrency_key: str | None = None
    parent_id: UUID | None = None
    notify_owner: bool = False
    has_undo: bool = False
    traceparent: str | None = None
    """The position in the trace of what has submitted the job."""
    explicit: frozenset[str] = field(default=frozenset(), compare=False)
    """The optional fields that the caller has set; not stored. A repeated submit must agree in them."""

    def validate(self) -> Self:
        """Return the spec if it is within the bounds; raise `InvalidArgument` otherwise.

        Only for specs of callers: a stored job stays readable when the bounds change.
        """
        require_kind(self.kind, "kind")
        require_policy(self.max_attempts, self.backoff, self.max_backoff, self.attempt_timeout)
        # A deadline can be 30 days later, and datetime ends with the year 9999.
        _require(self.run_at is None or self.run_at.year < 9999, "run_at", "before the year 9999")
        _require(-100 <= self.priority <= 100, "priority", "between -100 and 100")
        _require(
            self.total_timeout is None or timedelta() < self.total_timeout <= timedelta(days=30),
            "total_timeout",
            "above 0 and at most 30 days",
        )
        for name, key in (("unique_key", self.unique_key), ("concurrency_key", self.concurrency_key)):
            _require(key is None or len(key) <= 200, name, "at most 200 characters")
            _require(key is None or "\x00" not in key, name, "without NUL characters")
        # A job under the key of an undo job would keep the cancelled job from being undone.
        _require(not (self.unique_key or "").startswith(_UNDO_KEY), "unique_key", f"without the prefix {_UNDO_KEY}")
        return self


def require_kind(name: str, field: str) -> None:
    """Validate the name of a kind or schedule. Raises `InvalidArgument`."""
    _require(_NAME.fullmatch(name), field, "1 to 100 characters of a-z 0-9 _ . -")


def is_name(name: str) -> bool:
    """Return whether a name is valid for a kind."""
    return _NAME.fullmatch(name) is not None


def require_retention(retention: timedelta) -> None:
    """Validate the bounds. Raises `InvalidArgument`."""
    _require(timedelta(minutes=1) <= retention <= timedelta(days=3650), "retention", "from 1 minute up to 10 years")


def require_policy(max_attempts: int, backoff: timedelta, max_backoff: timedelta, attempt_timeout: timedelta) -> None:
    """Validate the bounds. Raises `InvalidArgument`."""
    _require(1 <= max_attempts <= 100, "max_attempts", "between 1 and 100")
    _require(timedelta() < backoff <= timedelta(hours=1), "backoff", "above 0 and at most 1 hour")
    _require(backoff <= max_backoff <= timedelta(hours=24), "max_backoff", "from backoff up to 24 hours")
    _require(timedelta() < attempt_timeout <= timedelta(hours=24), "attempt_timeout", "above 0 and at most 24 hours")


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The progress of an attempt; `total` 0 means unknown."""

    done: int = 0
    total: int = 0
    message: str = ""
    estimate: datetime | None = None
    """The estimated end; None while unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Children:
    """The number of children, of ended children, and of those the failed and cancelled ones."""

    total: int = 0
    ended: int = 0
    unsuccessful: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class JobError:
    """An error: a stable code, and a sentence for the user."""

    code: str
    message: str


DEADLINE_EXCEEDED = JobError(code="deadline_exceeded", message="The job ran out of time.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    job_id: UUID
    spec: Spec
    state: State
    attempt: int
    max_attempts: int
    crashes: int
    errors: int
    progress: Progress
    version: int
    created_at: datetime
    worker: str | None = None
    result: dict[str, Any] | None = None
    error: JobError | None = None
    cancel_reason: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    deadline: datetime | None = None
    run_at: datetime | None = None
    """The time from which it can be claimed."""
    hold_run_at: datetime | None = None
    """The same once a job on hold is released."""
    lease_until: datetime | None = field(default=None, compare=False)
    """The end of the worker's lease."""
    children: Children = Children()
    awaits_children: bool = False
    ready: bool = False
    """Whether it can be claimed now."""
    time_left: timedelta | None = field(default=None, compare=False)
    """The time until the deadline when the job was read, by the database's clock; None without a deadline."""
    fair_rank: int = field(default=0, compare=False)
    """Its rank among the ready jobs of its kind and priority."""
    payload_bytes: int = 0
    """The size of the payload as JSON."""
    has_payload: bool = True
    """Whether `spec.payload` was read; it is empty otherwise."""

    @property
    def is_on_hold(self) -> bool:
        """Whether an operator has put it on hold: it is not claimed until it is released."""
        return self.state is State.SCHEDULED and self.run_at == ON_HOLD


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """A line that a handler logged; LogLine in the protos documents each field."""

    number: int
    logged_at: datetime
    level: str
    logger: str
    text: str


def is_routine(job: Job) -> bool:
    """Return whether the last transition of a job is a routine one: the submit, the first claim, or the completion.

    Nothing precedes these transitions that they could overtake, and a handler moves its resource before its job completes, so
    no other service has to act on them.
    """
    return job.state is State.COMPLETED or (job.version <= FIRST_CLAIM and job.state in _BEFORE_FIRST_OUTCOME)


def is_long_ended(job: Job) -> bool:
    """Return whether a job of a notifying kind has just completed or failed, `LONG_RUN` or more after its first claim."""
    if not job.spec.notify_owner or job.state not in (State.COMPLETED, State.FAILED):
        return False
    return job.started_at is not None and job.finished_at is not None and job.finished_at - job.started_at >= LONG_RUN


def undo(job: Job) -> Spec:
    """Return the spec of the job that undoes the work of a cancelled one; its unique key allows one at a time."""
    payload = {"job_id": str(job.job_id), "attempt": job.attempt, "payload": job.spec.payload}
    return Spec(
        kind=job.spec.kind + UNDO,
        owner_id=job.spec.owner_id,
        payload=payload,
        max_attempts=10,
        unique_key=undo_key(job.job_id),
        # The slot of the cancelled job passes to its undo job, and is free when that has ended.
        concurrency_key=job.spec.concurrency_key,
        traceparent=job.spec.traceparent,
    )


def slots(job: Job) -> set[tuple[str, str]]:
    """Return the (kind, concurrency key) pairs that the job takes slots of: an undo job also those of its kind's jobs."""
    key = job.spec.concurrency_key
    return {(job.spec.kind, key), (job.spec.kind.removesuffix(UNDO), key)} if key else set()


def is_repaired_by_children(job: Job) -> bool:
    """Return whether a retry of this ended job makes sense only together with its unsuccessful children."""
    return job.spec.kind == GROUP or (job.error is not None and job.error.code == CHILDREN_FAILED)


def owned(job: Job | None, owner_id: UUID | None) -> Job:
    """Return the job. Raises `NotFound` for none, and for a job of another owner than `owner_id`."""
    if job is None or (owner_id is not None and job.spec.owner_id != owner_id):
        raise errors.NotFound("There is no such job.", code="job_not_found")
    return job


def undo_key(job_id: UUID) -> str:
    return f"{_UNDO_KEY}{job_id}"


def undone_job_id(job: Job) -> UUID | None:
    """Return the id of the job that an undo job undoes; None for other jobs."""
    key = job.spec.unique_key or ""
    return UUID(key.removeprefix(_UNDO_KEY)) if key.startswith(_UNDO_KEY) else None


def is_to_undo(job: Job | None, undo_job: Job) -> bool:
    """Return whether a job is still as it was when `undo_job` was submitted: cancelled, and without a later attempt."""
    return (
        job is not None and job.state is State.CANCELLED and job.attempt == (undo_job.spec.payload or {}).get("attempt")
    )


def _require(holds: object, name: str, bound: str) -> None:
    if not holds:
        raise errors.InvalidArgument(f"{name} must be {bound}.", field=name)
