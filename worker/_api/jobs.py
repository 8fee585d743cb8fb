"""New jobs, submitted jobs, children and progress."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, TypedDict, TypeVar, Unpack, cast
from uuid import UUID

from chassis import ids, protobuf, tracing
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
    """Options of a job. The kind registers the defaults. See JobSpec of the protos."""

    job_id: str
    """A UUIDv7; random by default. Set it to make a repeated submit the same job."""
    owner_id: str
    """The user (UUID) whose job it is; by default the system. A child has the owner of its parent."""
    priority: int
    """-100 to 100, higher first."""
    run_at: datetime
    """The earliest time to run."""
    max_attempts: int
    backoff: timedelta
    max_backoff: timedelta
    attempt_timeout: timedelta
    total_timeout: timedelta
    unique_key: str
    """At most one job that has not ended has this key."""
    concurrency_key: str
    """Jobs of a kind with the same key run one after the other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmittedJob:
    """A job that is stored."""

    job_id: str
    created: bool
    """Whether this submit stored it, and not an earlier one with the same id."""
    has_worker: bool
    """Whether a worker for its kind was seen lately."""
    state: State


@dataclass(frozen=True, slots=True, kw_only=True)
class Children:
    """The number of children of a job."""

    total: int = 0
    ended: int = 0
    unsuccessful: int = 0
    """Children that ended failed or cancelled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A child in its current state."""

    job_id: str
    kind: str
    state: State
    payload: Mapping[str, Any]
    result: Mapping[str, Any] | None
    """Set when completed."""
    error_code: str
    """Empty unless the child failed or retries after an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The progress of an attempt; `total` 0 means unknown."""

    done: int
    total: int
    message: str


def progress_to_proto(progress: Progress) -> job_pb2.JobProgress:
    """Return the message of a report. Raises TypeError or ValueError for values that the jobs service refuses."""
    if progress.done < 0 or progress.total < 0:
        raise ValueError("progress must not be below 0")
    return job_pb2.JobProgress(done=progress.done, total=progress.total, message=progress.message)


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoneJob:
    """The job that an undo job undoes."""

    job_id: str
    attempt: int
    """Its last attempt."""


def new_job(kind: kinds.Kind[P] | str, payload: P | Mapping[str, Any], **options: Unpack[JobOptions]) -> NewJob:
    """Build a job to submit. Raises ValueError or TypeError for a payload that is not JSON."""
    job_id = options.pop("job_id", "") or str(ids.uuid7())
    job = NewJob(job_id=job_id, spec=job_pb2.JobSpec(kind=kinds.name_of(kind), payload=protobuf.to_struct(payload)))
    job.spec.owner_id = SYSTEM
    job.spec.traceparent = tracing.position()
    for name, value in options.items():
        if isinstance(value, timedelta):
            getattr(job.spec, name).FromTimedelta(value)
        elif isinstance(value, datetime):
            if value.tzinfo is None:
                raise ValueError(f"{name} must have a time zone")
            getattr(job.spec, name).FromDatetime(value)
        else:
            setattr(job.spec, name, value)
    return job


def child_id(parent_id: str, name: str, position: int) -> str:
    """Return the id of a child. The same parent, name and position give the same id."""
    digest = hashlib.sha256(f"{parent_id}\n{name}\n{position}".encode()).digest()
    # A UUIDv7 with the time of the parent: children sort beside their parent, and among each other by position.
    value = (UUID(parent_id).int >> 80) + (position >> 12) << 80 | int.from_bytes(digest[:8], "big")
    value = value & ~(0x3 << 62) | 0x7 << 76 | (position & 0xFFF) << 64 | 0x2 << 62
    return str(UUID(int=value))


def from_response(response: jobs_service_pb2.SubmitJobResponse) -> SubmittedJob:
    """Convert the response to a submit."""
    job = response.job
    return SubmittedJob(job_id=job.job_id, created=response.created, has_worker=response.has_worker, state=_state(job))


def child_from_proto(job: job_pb2.Job) -> Child:
    """Convert a child."""
    return Child(
        job_id=job.job_id,
        kind=job.spec.kind,
        state=_state(job),
        payload=protobuf.from_struct(job.spec.payload),
        result=protobuf.from_struct(job.result) if job.HasField("result") else None,
        error_code=job.error.code,
    )


def _state(job: job_pb2.Job) -> State:
    return cast(State, job_pb2.JobState.Name(job.state).removeprefix("JOB_STATE_").lower())
