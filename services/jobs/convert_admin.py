"""What operators see, as messages. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from repruv.jobs.v1 import admin_service_pb2, kind_pb2
from services.jobs import convert, limits, overview, recurrence


def limits_from_proto(kind: str, message: kind_pb2.KindLimits) -> limits.Limits:
    """Read the limits of a kind. Raises `InvalidArgument`."""
    return limits.Limits(
        kind=kind,
        max_running=message.max_running,
        max_running_per_key=message.max_running_per_key,
        rate_count=message.rate_count,
        rate_period=message.rate_period.ToTimedelta() if message.HasField("rate_period") else None,
    )


def kind_to_proto(row: Mapping[str, Any]) -> kind_pb2.Kind:
    """Write a kind, as `overview.Overview.list_kinds` gives it."""
    is_declared = row["declared_at"] is not None
    return kind_pb2.Kind(
        kind=row["kind"],
        declaration=_declaration(row) if is_declared else None,
        limits=kind_pb2.KindLimits(
            max_running=row["max_running"] or 0,
            max_running_per_key=row["max_running_per_key"] or 1,
            rate_count=row["rate_count"] or 0,
            rate_period=convert.duration_to_proto(row["rate_period"]),
        ),
        pause_time=convert.time_to_proto(row["paused_at"]),
        declare_time=convert.time_to_proto(row["declared_at"]),
        served=row["served"],
        counts=row["counts"],
        oldest_waiting_time=convert.time_to_proto(row["oldest_waiting_at"]),
    )


def schedule_to_proto(schedule: recurrence.Schedule) -> kind_pb2.Schedule:
    """Write a schedule."""
    declared = schedule.declaration
    return kind_pb2.Schedule(
        declaration=kind_pb2.ScheduleDeclaration(
            name=declared.name,
            kind=declared.kind,
            payload=convert.json_to_proto(declared.payload),
            cron=declared.cron,
            time_zone=declared.time_zone,
            catch_up=kind_pb2.CatchUp.Value(f"CATCH_UP_{declared.catch_up.upper()}"),
            overlap=kind_pb2.Overlap.Value(f"OVERLAP_{declared.overlap.upper()}"),
        ),
        pause_time=convert.time_to_proto(schedule.paused_at),
        next_time=convert.time_to_proto(schedule.next_at),
        last_time=convert.time_to_proto(schedule.last_at),
        last_job_id=str(schedule.last_job_id or ""),
    )


def stuck_to_proto(stuck: overview.Stuck) -> admin_service_pb2.StuckJob:
    """Write a job that needs somebody's eye."""
    return admin_service_pb2.StuckJob(
        job=convert.job_to_proto(stuck.job), reason=stuck.reason, age=convert.duration_to_proto(stuck.age)
    )


def worker_to_proto(worker: overview.Worker) -> admin_service_pb2.Worker:
    """Write a worker."""
    return admin_service_pb2.Worker(
        worker=worker.worker,
        kinds=worker.kinds,
        seen_time=convert.time_to_proto(worker.seen_at),
        held_count=worker.held,
        lease_time=convert.time_to_proto(worker.lease_until),
    )


def _declaration(row: Mapping[str, Any]) -> kind_pb2.KindDeclaration:
    return kind_pb2.KindDeclaration(
        kind=row["kind"],
        defaults=kind_pb2.KindDefaults(
            max_attempts=row["max_attempts"] or 0,
            backoff=convert.duration_to_proto(row["backoff"]),
            max_backoff=convert.duration_to_proto(row["max_backoff"]),
            attempt_timeout=convert.duration_to_proto(row["attempt_timeout"]),
            total_timeout=convert.duration_to_proto(row["total_timeout"]),
            priority=row["priority"] or 0,
        ),
        notifies=row["notifies"],
        undoes=row["undoes"],
        retention=convert.duration_to_proto(row["retention"]),
    )
