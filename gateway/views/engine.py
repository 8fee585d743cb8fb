"""The job engine, as admins see it."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration

from gateway.views import job_snapshots, times
from gateway.views.times import Json
from repruv.jobs.v1 import admin_service_pb2, job_pb2, kind_pb2

SYSTEM = "00000000-0000-0000-0000-000000000000"
"""The owner of jobs that belong to nobody."""


def owned_job(snapshot: job_pb2.Job) -> Json:
    """A job of whomever."""
    return {**job_snapshots.job(snapshot), "owner_id": snapshot.spec.owner_id, "crashes": snapshot.crashes}


def kind(found: kind_pb2.Kind) -> Json:
    """A kind as it stands."""
    limits = found.limits
    return {
        "kind": found.kind,
        "served": found.has_worker,
        "declared_at": times.optional_time(found, "register_time"),
        "paused_at": times.optional_time(found, "pause_time"),
        "oldest_waiting_at": times.optional_time(found, "oldest_waiting_time"),
        "counts": dict(found.counts),
        "limits": {
            "max_running": limits.max_running,
            "max_running_per_key": limits.max_running_per_key,
            "rate_count": limits.rate_count,
            "rate_period_seconds": _seconds(limits.rate_period) if limits.HasField("rate_period") else None,
        },
    }


def schedule(found: kind_pb2.Schedule) -> Json:
    """A schedule as it stands."""
    declared = found.declaration
    return {
        "name": declared.name,
        "kind": declared.kind,
        "cron": declared.cron,
        "time_zone": declared.time_zone or "UTC",
        "paused_at": times.optional_time(found, "pause_time"),
        "next_at": times.optional_time(found, "next_time"),
        "last_at": times.optional_time(found, "last_time"),
        "last_job_id": found.last_job_id or None,
    }


def stuck(found: admin_service_pb2.StuckJob) -> Json:
    """A job that needs somebody's eye, and why."""
    return {"job": owned_job(found.job), "reason": found.reason, "age_seconds": _seconds(found.age)}


def worker(found: admin_service_pb2.Worker) -> Json:
    """A worker process."""
    return {
        "worker": found.worker,
        "kinds": list(found.kinds),
        "seen_at": times.optional_time(found, "seen_time"),
        "held_count": found.held_count,
        "lease_ends_at": times.optional_time(found, "lease_time"),
    }


def _seconds(span: Duration) -> float:
    return round(span.ToTimedelta().total_seconds(), 3)
