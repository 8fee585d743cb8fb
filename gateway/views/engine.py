"""The job engine, for admins."""

from __future__ import annotations

import json
from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

from chassis import protobuf, tracing
from gateway.views import derive, times
from gateway.views.jobs import JOB_STATES, Attempt, Checkpoint, Job, JobStatus, Transition, job, job_history
from repruv.jobs.v1 import admin_service_pb2, job_pb2, jobs_service_pb2, kind_pb2

StuckReason = Literal["no_worker", "paused", "waiting", "overrun", "cancelling", "crashing", "on_hold"]

CatchUp = Literal["last", "none", "all"]
Overlap = Literal["skip", "allow", "queue"]
ProblemReason = Literal["no_worker", "paused", "waiting", "overrun", "cancelling", "crashing", "failing", "on_hold"]

JOB_ORDERS = protobuf.enum_numbers(admin_service_pb2.JobOrder.DESCRIPTOR)
JOB_CHANGES = {
    "retry": admin_service_pb2.JOB_CHANGE_RETRY_V2,
    "cancel": admin_service_pb2.JOB_CHANGE_CANCEL_V2,
    "hold": admin_service_pb2.JOB_CHANGE_HOLD,
    "release": admin_service_pb2.JOB_CHANGE_RELEASE,
}
RATE_SPANS = protobuf.enum_numbers(admin_service_pb2.RateSpan.DESCRIPTOR)
OVERLAPS = protobuf.enum_numbers(kind_pb2.Overlap.DESCRIPTOR)

SYSTEM = "00000000-0000-0000-0000-000000000000"
"""The owner of system jobs."""


class OwnedJob(Job):
    """A job and its owner."""

    owner_id: Annotated[str, Field(description="The nil UUID is the system itself.")]
    crashes: Annotated[int, Field(description="Attempts that ended because their worker died.")]
    trace_id: Annotated[str, Field(description="The request that submitted it, if its trace was recorded; else empty.")]


class _Row(TypedDict):
    worker: Annotated[str, Field(description="The worker of the latest attempt; empty before the first.")]
    wait_seconds: Annotated[
        float | None,
        derive.Of("wait"),
        Field(description="Time before the first attempt; null while it is scheduled for later."),
    ]
    run_seconds: Annotated[
        float | None,
        derive.Of("run"),
        Field(description="Time since the first attempt began, up to the end; null before."),
    ]


class JobRow(OwnedJob, _Row):
    """A job in a list for admins."""


class ExceptionInfo(TypedDict):
    """The exception that failed an attempt; sensitive fields of the payload are masked."""

    type: Annotated[str, Field(examples=["sqlalchemy.exc.IntegrityError"])]
    message: str
    traceback: Annotated[str, Field(description="Empty once it is no longer kept.")]
    place: Annotated[str, Field(description="File and function that raised it.")]


class AttemptRecord(Attempt):
    """One run of a job's handler, with what only admins read."""

    exception: ExceptionInfo | None
    fingerprint: Annotated[
        str | None, Field(description="The same for failures of a kind with the same code, type and place.")
    ]
    log_line_count: int


class LogLine(TypedDict):
    """A line that a handler logged."""

    attempt: int
    number: Annotated[int, Field(description="Within the attempt, from 1.")]
    logged_at: Annotated[str | None, derive.Of("time")]
    level: Literal["debug", "info", "warning", "error", "critical"]
    logger: str
    text: str


class LogLines(TypedDict):
    """A page of log lines, in order; the first page has the newest."""

    lines: list[LogLine]
    next_page_token: Annotated[str, Field(description="For older lines; empty on the last page.")]


class JobChange(TypedDict):
    """A change of a job by an operator."""

    change: Literal["hold", "release"]
    actor_id: Annotated[
        str | None, Field(description="The admin; null for the command line, and after the erasure of the account.")
    ]
    changed_at: Annotated[str | None, derive.Of("time")]


class JobRecord(TypedDict):
    """Everything that is kept of a job but its log lines."""

    job: OwnedJob
    payload: Annotated[dict[str, object], Field(description="Sensitive fields are masked.")]
    attempts: list[AttemptRecord]
    transitions: list[Transition]
    checkpoints: list[Checkpoint]
    changes: Annotated[list[JobChange], Field(description="Who held and released it; the newest 20, newest first.")]


class JobCount(TypedDict):
    """The number of jobs of one kind in one state."""

    kind: str
    status: Annotated[JobStatus, derive.Of("state")]
    count: int


class JobCounts(TypedDict):
    """How many jobs match a filter."""

    count: int
    has_more: Annotated[bool, Field(description="Whether there may be more: counting ends at 10,000.")]
    owner_count: int
    groups: list[JobCount]


class KindLimits(TypedDict):
    """Limits of a kind over all workers; 0 is unlimited."""

    max_running: int
    max_running_per_key: Annotated[int, Field(description="At once among jobs that share a concurrency key.")]
    rate_count: Annotated[int, Field(description="Jobs that start in `rate_period_seconds`.")]
    rate_period_seconds: Annotated[float | None, derive.Of("rate_period")]


class Kind(TypedDict):
    """A kind of jobs; `*` stands for all of them."""

    kind: Annotated[str, Field(examples=["demo.enable"])]
    has_worker: Annotated[bool, Field(description="Whether a worker registered it in the last two minutes.")]
    registered_at: str | None
    paused_at: str | None
    paused_by: Annotated[
        str | None,
        derive.Of("pauser_id"),
        Field(description="The admin who paused it; null if not paused, paused by the command line, or unknown."),
    ]
    oldest_waiting_at: Annotated[
        str | None, Field(description="Since when the oldest waits of those that could begin.")
    ]
    counts: Annotated[dict[str, int], Field(description="Jobs that have not ended, by status.")]
    limits: KindLimits


class Schedule(TypedDict):
    """A schedule."""

    name: Annotated[str, derive.Of("registration.name")]
    kind: Annotated[str, derive.Of("registration.kind")]
    cron: Annotated[str, derive.Of("registration.cron"), Field(examples=["*/5 * * * *"])]
    time_zone: str
    paused_at: str | None
    next_at: str | None
    last_at: str | None
    last_job_id: str | None
    catch_up: Annotated[CatchUp, derive.Of("registration.catch_up")]
    overlap: Annotated[Overlap, derive.Of("registration.overlap")]
    is_of_operator: Annotated[bool, Field(description="Whether an operator made it; workers register the others.")]


class ScheduleRun(TypedDict):
    """A time of a schedule that has passed."""

    time: str
    job_id: Annotated[str | None, Field(description="Null if the time was skipped, or its job was deleted.")]
    status: JobStatus | None


class ScheduleDetails(TypedDict):
    """A schedule with its next 5 and its latest 10 times."""

    schedule: Schedule
    payload: Annotated[dict[str, object], Field(description="Sensitive fields are masked.")]
    next_at: list[str]
    runs: Annotated[list[ScheduleRun], Field(description="The newest first.")]


class KindChange(TypedDict):
    """A change of a kind by an operator."""

    change: Literal["paused", "resumed", "limited"]
    details: Annotated[str, Field(description="The new limits in words; else empty.")]
    actor_id: Annotated[
        str | None, Field(description="The admin; null for the command line, and after the erasure of the account.")
    ]
    changed_at: Annotated[str | None, derive.Of("time")]


class KindDetails(TypedDict):
    """A kind, its payload, and its newest 20 changes by operators."""

    kind: Kind
    changes: Annotated[list[KindChange], Field(description="Newest first.")]
    payload_schema: Annotated[dict[str, object] | None, Field(description="The JSON Schema; null if unknown.")]
    sensitive_fields: list[str]


class StuckJob(TypedDict):
    """A job that needs attention."""

    job: OwnedJob
    reason: StuckReason
    age_seconds: Annotated[float, derive.Of("age")]


class HeldJob(TypedDict):
    """A job that a worker holds."""

    job_id: str
    kind: str
    started_at: str | None


class Worker(TypedDict):
    """A worker process."""

    worker: str
    kinds: list[str]
    seen_at: str | None
    held_count: int
    lease_ends_at: str | None
    host: Annotated[str, derive.Of("info.host")]
    version: Annotated[str, derive.Of("info.version"), Field(description="A digest of its program.")]
    concurrency: Annotated[int, derive.Of("info.concurrency"), Field(description="Jobs that it runs at once.")]
    started_at: Annotated[str | None, derive.Of("info.start_time")]
    held_jobs: Annotated[list[HeldJob], Field(description="The first 20.")]


class RatePoint(TypedDict):
    """One step of a time."""

    completed: int
    failed: int
    cancelled: int
    waiting: Annotated[int, Field(description="The most jobs that waited for a worker at the end of a minute.")]
    wait_p95_seconds: Annotated[
        float | None, derive.Of("wait_p95"), Field(description="Null without jobs, and for single kinds.")
    ]


class KindRates(TypedDict):
    """How many jobs of a kind ended, and how long they waited and ran. Durations are within a fifth; null without jobs."""

    kind: str
    completed: int
    failed: int
    cancelled: int
    wait_p50_seconds: Annotated[float | None, derive.Of("wait_p50")]
    wait_p95_seconds: Annotated[float | None, derive.Of("wait_p95")]
    run_p50_seconds: Annotated[float | None, derive.Of("run_p50")]
    run_p95_seconds: Annotated[float | None, derive.Of("run_p95")]
    points: Annotated[list[RatePoint], Field(description="Oldest first.")]


class Rates(TypedDict):
    """The rates of a time, of all kinds together (`*`) and of each."""

    total: KindRates
    kinds: list[KindRates]
    begins_at: Annotated[str, derive.Of("begin_time")]
    ends_at: Annotated[
        str, derive.Of("end_time"), Field(description="Jobs that ended from `begins_at` up to this time are counted.")
    ]
    step_seconds: Annotated[float, derive.Of("step")]


class Problem(TypedDict):
    """Jobs of one kind that need attention for the same reason."""

    reason: ProblemReason
    kind: str
    count: int
    owner_count: int
    age_seconds: Annotated[float, derive.Of("age")]


class ErrorGroup(TypedDict):
    """Failed jobs with the same kind, error code and fingerprint."""

    kind: str
    code: str
    fingerprint: Annotated[str, Field(description="Empty if the attempts raised no exception.")]
    exception_type: str
    place: str
    message: str
    count: int
    owner_count: int
    first_at: str | None
    last_at: str | None
    trend: Annotated[list[int], Field(description="Failures in each of the last 24 hours, oldest first.")]
    last_job_id: str


def owned_job(snapshot: job_pb2.Job) -> OwnedJob:
    """Return a job with its owner."""
    return {
        **job(snapshot),
        "owner_id": snapshot.spec.owner_id,
        "crashes": snapshot.crashes,
        "trace_id": tracing.trace_id(snapshot.spec.traceparent),
    }


log_lines = derive.view(LogLines, admin_service_pb2.ListLogLinesResponse)
"""Returns a page of log lines."""

job_change = derive.view(JobChange, job_pb2.JobChangeRecord)
"""Returns a change of a job by an operator."""

attempt_record = derive.view(AttemptRecord, job_pb2.Attempt)
"""Returns an attempt with its exception."""


def job_record(snapshot: job_pb2.Job, history: jobs_service_pb2.GetJobHistoryResponse) -> JobRecord:
    """Return everything that is kept of a job but its log lines."""
    past = job_history(snapshot.job_id, history)
    return {
        "job": owned_job(snapshot),
        "payload": protobuf.from_struct(snapshot.spec.payload),
        "attempts": [attempt_record(attempt) for attempt in history.attempts],
        "transitions": past["transitions"],
        "checkpoints": past["checkpoints"],
        "changes": [job_change(change) for change in history.changes],
    }


_row = derive.view(_Row, admin_service_pb2.JobRow)


def job_row(row: admin_service_pb2.JobRow) -> JobRow:
    """Return a job of a list for admins."""
    return {**owned_job(row.job), **_row(row)}


job_counts = derive.view(JobCounts, admin_service_pb2.CountJobsResponse)
"""Returns the number of jobs that match a filter."""


kind = derive.view(Kind, kind_pb2.Kind)
"""Returns a kind, its counts and its limits."""


schedule = derive.view(Schedule, kind_pb2.Schedule, time_zone=lambda schedule: schedule.registration.time_zone or "UTC")


def schedule_details(response: admin_service_pb2.GetScheduleResponse) -> ScheduleDetails:
    """Return a schedule with its times."""
    return {
        "schedule": schedule(response.schedule),
        "payload": protobuf.from_struct(response.schedule.registration.payload),
        "next_at": [times.time(moment) for moment in response.next_times],
        "runs": [
            {
                "time": times.time(run.time),
                "job_id": run.job_id or None,
                "status": JOB_STATES[run.state] if run.job_id else None,
            }
            for run in response.runs
        ],
    }


kind_change = derive.view(KindChange, admin_service_pb2.KindChange)


def kind_details(response: admin_service_pb2.GetKindResponse) -> KindDetails:
    """Return a kind, its payload and its changes."""
    message = response.kind
    text = message.registration.payload_schema
    return {
        "kind": kind(message),
        "changes": [kind_change(change) for change in response.changes],
        "payload_schema": json.loads(text) if text else None,
        "sensitive_fields": list(message.registration.sensitive_fields),
    }


stuck = derive.view(StuckJob, admin_service_pb2.StuckJob, job=lambda stuck: owned_job(stuck.job))
"""Returns a job that needs attention, and why."""


worker = derive.view(Worker, admin_service_pb2.Worker)

rates = derive.view(Rates, admin_service_pb2.GetRatesResponse)
problem = derive.view(Problem, admin_service_pb2.Problem)
error_group = derive.view(ErrorGroup, admin_service_pb2.ErrorGroup)
