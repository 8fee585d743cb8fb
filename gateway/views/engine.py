"""The job engine as admins see it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

from gateway.views import derive
from gateway.views.jobs import Job, JobStatus, job
from repruv.jobs.v1 import admin_service_pb2, job_pb2, kind_pb2

StuckReason = Literal["no_worker", "paused", "waiting", "overrun", "cancelling", "crashing"]

SYSTEM = "00000000-0000-0000-0000-000000000000"
"""The owner of system jobs."""


class OwnedJob(Job):
    """A job, and whose it is."""

    owner_id: Annotated[str, Field(description="The nil UUID is the system itself.")]
    crashes: Annotated[int, Field(description="Attempts that ended because their worker died.")]


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


class StuckJob(TypedDict):
    """A job that needs attention."""

    job: OwnedJob
    reason: StuckReason
    age_seconds: Annotated[float, derive.Of("age")]


class Worker(TypedDict):
    """A worker process."""

    worker: str
    kinds: list[str]
    seen_at: str | None
    held_count: int
    lease_ends_at: str | None


def owned_job(snapshot: job_pb2.Job) -> OwnedJob:
    """Return a job with its owner."""
    return {**job(snapshot), "owner_id": snapshot.spec.owner_id, "crashes": snapshot.crashes}


_row = derive.view(_Row, admin_service_pb2.JobRow)


def job_row(row: admin_service_pb2.JobRow) -> JobRow:
    """Return a job of a list for admins."""
    return {**owned_job(row.job), **_row(row)}


job_counts = derive.view(JobCounts, admin_service_pb2.CountJobsResponse)
"""Returns the number of jobs that match a filter."""


kind = derive.view(Kind, kind_pb2.Kind)
"""Returns a kind, its counts and its limits."""


schedule = derive.view(Schedule, kind_pb2.Schedule, time_zone=lambda schedule: schedule.registration.time_zone or "UTC")


stuck = derive.view(StuckJob, admin_service_pb2.StuckJob, job=lambda stuck: owned_job(stuck.job))
"""Returns a job that needs attention, and why."""


worker = derive.view(Worker, admin_service_pb2.Worker)
