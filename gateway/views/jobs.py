"""Jobs and their history."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

from chassis import protobuf
from gateway.views import derive
from gateway.views.times import ErrorInfo
from repruv.jobs.v1 import job_pb2, jobs_service_pb2

JobStatus = Literal["scheduled", "pending", "running", "retrying", "cancelling", "completed", "failed", "cancelled"]
AttemptOutcome = Literal["completed", "failed", "cancelled", "released", "snoozed", "waiting", "crashed"]

JOB_STATES: dict[job_pb2.JobState.ValueType, JobStatus] = protobuf.enum_names(job_pb2.JobState.DESCRIPTOR)
JOB_STATE_NUMBERS: dict[JobStatus, job_pb2.JobState.ValueType] = protobuf.enum_numbers(job_pb2.JobState.DESCRIPTOR)
CANCELLABLE = frozenset({"scheduled", "pending", "running", "retrying"})
FINISHED = frozenset({"completed", "failed", "cancelled"})
SUPERSEDED = "superseded"
UNSTOPPABLE = frozenset({"demo.disable", "auth.disconnect"})
"""Kinds that are not offered to be cancelled: half a removal is a failure."""
BULK = "jobs.bulk"
"""Changes of many jobs: only admins retry them; the owner may be an admin no longer."""
LEGACY = "legacy."
"""Kinds of jobs that were imported from the previous system; none of them runs here."""


class Progress(TypedDict):
    """The progress of a job."""

    done: int
    total: Annotated[int, Field(description="0 while unknown.")]
    percent: Annotated[int, Field(ge=0, le=100)]
    message: str


class Children(TypedDict):
    """The number of a job's children, of ended children, and of those without success."""

    total: int
    ended: int
    unsuccessful: int


class Job(TypedDict):
    """A long operation. Of two snapshots the one with the higher `version` is the newer."""

    job_id: str
    kind: Annotated[str, derive.Of("spec.kind"), Field(examples=["demo.enable"])]
    status: Annotated[JobStatus, derive.Of("state")]
    progress: Progress
    attempt: int
    max_attempts: int
    errors: Annotated[int, Field(description="Attempts that ended in an error since it was submitted or retried.")]
    created_at: str | None
    started_at: str | None
    finished_at: str | None
    duration_seconds: float | None
    estimated_finish_at: Annotated[
        str | None,
        derive.Of("progress.estimate_time"),
        Field(description="At the rate of the last seconds; null while that is unknown."),
    ]
    next_run_at: Annotated[
        str | None, Field(description="When it can begin next; set while it is scheduled or retrying, but not on hold.")
    ]
    on_hold: Annotated[
        bool, Field(description="Whether an admin holds it: it is scheduled until an admin releases it.")
    ]
    deadline_at: Annotated[str | None, derive.Of("deadline"), Field(description="When it must have ended.")]
    parent_id: Annotated[str | None, derive.Of("spec.parent_id")]
    children: Children | None
    result: dict[str, object] | None
    error: ErrorInfo | None
    cancel_reason: str | None
    cancellable: Annotated[
        bool, Field(description="Whether to offer a cancel; never for removals, half of which would be a failure.")
    ]
    retryable: Annotated[bool, Field(description="Never for jobs that were imported from the previous system.")]
    version: int


class Jobs(TypedDict):
    """A page of jobs."""

    jobs: list[Job]
    next_page_token: Annotated[str, Field(description="Empty on the last page.")]
    previous_page_token: Annotated[str, Field(description="Empty on the first page.")]


class Reached(TypedDict):
    """How far an attempt came that did not complete."""

    done: int
    total: Annotated[int, Field(description="0 while unknown.")]


class Attempt(TypedDict):
    """One run of a job's handler."""

    attempt: int
    worker: str
    started_at: str | None
    finished_at: str | None
    outcome: AttemptOutcome | None
    error: ErrorInfo | None
    reached: Annotated[Reached | None, derive.Of("progress")]
    resumed_done: Annotated[int | None, Field(description="What a later attempt reported first: where it resumed.")]
    lease_expired_at: Annotated[
        str | None, derive.Of("lease_time"), Field(description="When the lease of a crashed attempt ended.")
    ]


class Checkpoint(TypedDict):
    """A value that an attempt saved for later ones: a step, or the position of a loop (`@state`)."""

    name: str
    attempt: int
    saved_at: str | None
    duration_seconds: Annotated[float | None, derive.Of("duration")]
    value: Annotated[str | None, Field(description="Small values as JSON, for admins.")]


class Transition(TypedDict):
    """One change of a job's state; `sequence` is the id of its event."""

    sequence: int
    status: Annotated[JobStatus, derive.Of("state")]
    attempt: int
    reason: str
    occurred_at: str | None


class _History(TypedDict):
    attempts: list[Attempt]
    transitions: list[Transition]
    checkpoints: list[Checkpoint]
    is_paused: Annotated[bool, Field(description="Whether it waits while its kind, or every kind, is paused.")]
    jobs_ahead: Annotated[
        int | None,
        Field(
            description="How many jobs of its kind start before it, at most 1000; null unless it waits for a worker. The"
            " number can grow: jobs of a higher priority, and of users with fewer waiting jobs, go first."
        ),
    ]
    lacks_worker: Annotated[bool, Field(description="Whether it waits while its kind has no worker.")]
    awaits_slot: Annotated[bool, Field(description="Whether it waits until another job with its key has ended.")]
    on_hold: Annotated[bool, Field(description="Whether it waits until an admin releases it.")]


class JobHistory(_History):
    """The history of a job, oldest first."""

    job_id: str


def job_state(job: job_pb2.Job) -> JobStatus:
    return JOB_STATES[job.state]


def progress(snapshot: job_pb2.Job) -> Progress:
    """Return the progress of a job: 100 % once it is completed, never above."""
    done, total = snapshot.progress.done, snapshot.progress.total
    percent = min(100, max(0, done * 100 // total)) if total > 0 else 0
    if snapshot.state == job_pb2.JOB_STATE_COMPLETED:
        percent = 100
    return {"done": done, "total": total, "percent": percent, "message": snapshot.progress.message}


def _duration(snapshot: job_pb2.Job) -> float | None:
    """Return the seconds from the first attempt to the end; None until then, since snapshots of a running job do not age."""
    if not (snapshot.HasField("start_time") and snapshot.HasField("finish_time")):
        return None
    return round((snapshot.finish_time.ToNanoseconds() - snapshot.start_time.ToNanoseconds()) / 1e9, 3)


def _is_retryable(snapshot: job_pb2.Job) -> bool:
    state = job_state(snapshot)
    if snapshot.spec.kind.startswith(LEGACY):
        return False
    return state == "failed" or (state == "cancelled" and snapshot.cancel_reason != SUPERSEDED)


job = derive.view(
    Job,
    job_pb2.Job,
    progress=progress,
    duration_seconds=_duration,
    result=lambda snapshot: protobuf.from_struct(snapshot.result) if snapshot.HasField("result") else None,
    cancellable=lambda snapshot: job_state(snapshot) in CANCELLABLE and snapshot.spec.kind not in UNSTOPPABLE,
    retryable=_is_retryable,
)
"""Returns a job as it was when the snapshot was taken."""


def jobs(page: jobs_service_pb2.ListJobsResponse) -> Jobs:
    return {
        "jobs": [job(item) for item in page.jobs],
        "next_page_token": page.next_page_token,
        "previous_page_token": page.previous_page_token,
    }


def job_history(job_id: str, history: jobs_service_pb2.GetJobHistoryResponse) -> JobHistory:
    """Return the history of a job, oldest first."""
    return {"job_id": job_id, **_history(history)}


_history = derive.view(_History, jobs_service_pb2.GetJobHistoryResponse)
