"""Jobs to be submitted, and what becomes of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, TypedDict, TypeVar, Unpack, cast
from uuid import UUID

from chassis import ids, values
from repruv.jobs.v1 import job_pb2, jobs_service_pb2
from worker._api import kinds

P = TypeVar("P")

SYSTEM = str(UUID(int=0))
"""The owner of jobs that belong to no user."""
NewJob = jobs_service_pb2.SubmitJobRequest
"""A job that is not submitted yet."""

State = Literal["scheduled", "pending", "running", "retrying", "cancelling", "completed", "failed", "cancelled"]


AttemptKey = tuple[str, int]
"""(job_id, attempt): the fencing token."""


class JobOptions(TypedDict, total=False):
    """What may be said of a job beside its kind and payload; what is not said is as the kind declares. See JobSpec."""

    job_id: str
    """UUIDv7; made if it is not given. Whoever may submit again, since no answer came, gives the same one."""
    owner_id: str
    """The user (UUID) for whom it runs; the system if not given. A child has its parent's."""
    priority: int
    """-100 to 100, higher first."""
    run_at: datetime
    """Not before this time."""
    max_attempts: int
    backoff: timedelta
    max_backoff: timedelta
    attempt_timeout: timedelta
    total_timeout: timedelta
    unique_key: str
    """At most one job that has not ended carries it."""
    concurrency_key: str
    """Those of a kind that share it run one after the other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmittedJob:
    """A job that is stored."""

    job_id: str
    created: bool
    """Whether by this very submit, and not by an earlier one of the same id."""
    has_worker: bool
    """Whether a worker that serves its kind was seen lately."""
    state: State


@dataclass(frozen=True, slots=True, kw_only=True)
class Children:
    """How many children a job has."""

    total: int = 0
    ended: int = 0
    unsuccessful: int = 0
    """How many of those that ended did so failed or cancelled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A child as it stands."""

    job_id: str
    kind: str
    state: State
    payload: Mapping[str, Any]
    result: Mapping[str, Any] | None
    """Set when completed."""
    error_code: str
    """Empty unless it failed, or retries after an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far an attempt has come; `total` 0 means unknown."""

    done: int
    total: int
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoneJob:
    """What an undoing job undoes."""

    job_id: str
    attempt: int
    """The last attempt that was made."""


def new_job(kind: kinds.Kind[P] | str, payload: P | Mapping[str, Any], **options: Unpack[JobOptions]) -> NewJob:
    """Make a job to be submitted. Raises ValueError or TypeError for a payload that JSON cannot say."""
    job_id = options.pop("job_id", "") or str(ids.uuid7())
    new = NewJob(job_id=job_id, spec=job_pb2.JobSpec(kind=kinds.name_of(kind), payload=values.to_struct(payload)))
    new.spec.owner_id = SYSTEM
    for name, value in options.items():
        if isinstance(value, timedelta):
            getattr(new.spec, name).FromTimedelta(value)
        elif isinstance(value, datetime):
            if value.tzinfo is None:
                raise ValueError(f"{name} must name its time zone")
            getattr(new.spec, name).FromDatetime(value)
        else:
            setattr(new.spec, name, value)
    return new


def child_id(parent_id: str, name: str, position: int) -> str:
    """Give the id of a child: the same whenever the parent submits the child of this name and position."""
    digest = hashlib.sha256(f"{parent_id}\n{name}\n{position}".encode()).digest()
    # Shaped as a UUIDv7 of the parent's time, so that children sort beside their parent.
    value = UUID(parent_id).int >> 80 << 80 | int.from_bytes(digest[:10], "big")
    value = value & ~(0xF << 76) & ~(0x3 << 62) | 0x7 << 76 | 0x2 << 62
    return str(UUID(int=value))


def submitted(answer: jobs_service_pb2.SubmitJobResponse) -> SubmittedJob:
    """Read the answer to a submit."""
    job = answer.job
    return SubmittedJob(job_id=job.job_id, created=answer.created, has_worker=answer.served, state=_state(job))


def child(job: job_pb2.Job) -> Child:
    """Read a child."""
    return Child(
        job_id=job.job_id,
        kind=job.spec.kind,
        state=_state(job),
        payload=values.from_struct(job.spec.payload),
        result=values.from_struct(job.result) if job.HasField("result") else None,
        error_code=job.error.code,
    )


def _state(job: job_pb2.Job) -> State:
    return cast(State, job_pb2.JobState.Name(job.state).removeprefix("JOB_STATE_").lower())
