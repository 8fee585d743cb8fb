"""The job engine as admins see it."""

from __future__ import annotations

from typing import Annotated, Literal, cast

from google.protobuf.duration_pb2 import Duration
from pydantic import Field
from typing_extensions import TypedDict

from gateway.views import times
from gateway.views.jobs import Job, job
from repruv.jobs.v1 import admin_service_pb2, job_pb2, kind_pb2

StuckReason = Literal["no_worker", "paused", "waiting", "overrun", "cancelling", "crashing"]

SYSTEM = "00000000-0000-0000-0000-000000000000"
"""The owner of system jobs."""


class OwnedJob(Job):
    """A job, and whose it is."""

    owner_id: Annotated[str, Field(description="The nil UUID is the system itself.")]
    crashes: Annotated[int, Field(description="Attempts that ended because their worker died.")]


class KindLimits(TypedDict):
    """Limits of a kind over all workers; 0 is unlimited."""

    max_running: int
    max_running_per_key: Annotated[int, Field(description="At once among jobs that share a concurrency key.")]
    rate_count: Annotated[int, Field(description="Jobs that start in `rate_period_seconds`.")]
    rate_period_seconds: float | None


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

    name: str
    kind: str
    cron: Annotated[str, Field(examples=["*/5 * * * *"])]
    time_zone: str
    paused_at: str | None
    next_at: str | None
    last_at: str | None
    last_job_id: str | None


class StuckJob(TypedDict):
    """A job that needs attention."""

    job: OwnedJob
    reason: StuckReason
    age_seconds: float


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


def kind(state: kind_pb2.Kind) -> Kind:
    """Return a kind, its counts and its limits."""
    limits = state.limits
    return {
        "kind": state.kind,
        "has_worker": state.has_worker,
        "registered_at": times.optional_time(state, "register_time"),
        "paused_at": times.optional_time(state, "pause_time"),
        "oldest_waiting_at": times.optional_time(state, "oldest_waiting_time"),
        "counts": dict(state.counts),
        "limits": {
            "max_running": limits.max_running,
            "max_running_per_key": limits.max_running_per_key,
            "rate_count": limits.rate_count,
            "rate_period_seconds": _seconds(limits.rate_period) if limits.HasField("rate_period") else None,
        },
    }


def schedule(state: kind_pb2.Schedule) -> Schedule:
    """Return a schedule."""
    registration = state.registration
    return {
        "name": registration.name,
        "kind": registration.kind,
        "cron": registration.cron,
        "time_zone": registration.time_zone or "UTC",
        "paused_at": times.optional_time(state, "pause_time"),
        "next_at": times.optional_time(state, "next_time"),
        "last_at": times.optional_time(state, "last_time"),
        "last_job_id": state.last_job_id or None,
    }


def stuck(state: admin_service_pb2.StuckJob) -> StuckJob:
    """Return a job that needs attention, and why."""
    return {
        "job": owned_job(state.job),
        "reason": cast("StuckReason", state.reason),
        "age_seconds": _seconds(state.age),
    }


def worker(state: admin_service_pb2.Worker) -> Worker:
    """Return a worker process."""
    return {
        "worker": state.worker,
        "kinds": list(state.kinds),
        "seen_at": times.optional_time(state, "seen_time"),
        "held_count": state.held_count,
        "lease_ends_at": times.optional_time(state, "lease_time"),
    }


def _seconds(span: Duration) -> float:
    return round(span.ToTimedelta().total_seconds(), 3)
