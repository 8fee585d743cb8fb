"""Conversion between kinds, workers, stuck jobs and proto messages. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chassis import protobuf
from repruv.jobs.v1 import admin_service_pb2 as pb
from repruv.jobs.v1 import kind_pb2
from services.jobs.convert import job_to_proto
from services.jobs.operators import kind_controls, overview


def limits_from_proto(kind: str, message: kind_pb2.KindLimits) -> kind_controls.Limits:
    """Return the limits of a kind. Raises `InvalidArgument`."""
    return kind_controls.Limits(
        kind=kind,
        max_running=message.max_running,
        max_running_per_key=message.max_running_per_key,
        rate_count=message.rate_count,
        rate_period=message.rate_period.ToTimedelta() if message.HasField("rate_period") else None,
    )


def kind_to_proto(row: Mapping[str, Any]) -> kind_pb2.Kind:
    """Return a row of `Overview.list_kinds` as proto."""
    is_registered = row["declared_at"] is not None
    return kind_pb2.Kind(
        kind=row["kind"],
        registration=_registration(row) if is_registered else None,
        limits=kind_pb2.KindLimits(
            max_running=row["max_running"] or 0,
            max_running_per_key=row["max_running_per_key"] or 1,
            rate_count=row["rate_count"] or 0,
            rate_period=protobuf.to_duration(row["rate_period"]),
        ),
        pause_time=protobuf.to_timestamp(row["paused_at"]),
        register_time=protobuf.to_timestamp(row["declared_at"]),
        has_worker=row["has_worker"],
        counts=row["counts"],
        oldest_waiting_time=protobuf.to_timestamp(row["oldest_waiting_at"]),
    )


def stuck_to_proto(stuck: overview.StuckJob) -> pb.StuckJob:
    """Return a stuck job as proto."""
    return pb.StuckJob(job=job_to_proto(stuck.job), reason=stuck.reason, age=protobuf.to_duration(stuck.age))


def worker_to_proto(worker: overview.Worker) -> pb.Worker:
    """Return a worker as proto."""
    return pb.Worker(
        worker=worker.worker,
        kinds=worker.kinds,
        seen_time=protobuf.to_timestamp(worker.seen_at),
        held_count=worker.held,
        lease_time=protobuf.to_timestamp(worker.lease_until),
    )


def _registration(row: Mapping[str, Any]) -> kind_pb2.KindRegistration:
    return kind_pb2.KindRegistration(
        kind=row["kind"],
        defaults=kind_pb2.KindDefaults(
            max_attempts=row["max_attempts"] or 0,
            backoff=protobuf.to_duration(row["backoff"]),
            max_backoff=protobuf.to_duration(row["max_backoff"]),
            attempt_timeout=protobuf.to_duration(row["attempt_timeout"]),
            total_timeout=protobuf.to_duration(row["total_timeout"]),
            priority=row["priority"] or 0,
        ),
        notify_owner=row["notifies"],
        has_undo=row["undoes"],
        retention=protobuf.to_duration(row["retention"]),
    )
