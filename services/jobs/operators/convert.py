"""Conversion between kinds, workers, stuck jobs and proto messages. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chassis import errors, ids, paging, protobuf
from repruv.jobs.v1 import admin_service_pb2 as pb
from repruv.jobs.v1 import kind_pb2
from services.jobs.convert import job_to_proto, state_from_proto, state_to_proto
from services.jobs.operators import job_filters, job_search, kind_controls, overview

_ORDERS = {
    pb.JOB_ORDER_UNSPECIFIED: job_search.Order.NEWEST,
    pb.JOB_ORDER_NEWEST: job_search.Order.NEWEST,
    pb.JOB_ORDER_OLDEST: job_search.Order.OLDEST,
    pb.JOB_ORDER_LONGEST_WAIT: job_search.Order.LONGEST_WAIT,
    pb.JOB_ORDER_LONGEST_RUN: job_search.Order.LONGEST_RUN,
}


def filter_from_proto(message: pb.JobFilter) -> job_filters.JobFilter:
    """Return a filter of jobs. Raises `InvalidArgument`."""
    times = {
        name: protobuf.from_timestamp(getattr(message, f"create_time_{name}"), f"create_time_{name}")
        for name in ("from", "until")
        if message.HasField(f"create_time_{name}")  # type: ignore[arg-type]
    }
    return job_filters.JobFilter(
        states=frozenset(map(state_from_proto, message.states)),
        kinds=frozenset(message.kinds),
        owner_id=ids.parse(message.owner_id, "owner_id") if message.owner_id else None,
        worker=message.worker,
        error_code=message.error_code,
        created_from=times.get("from"),
        created_until=times.get("until"),
        text=message.text,
        without_system=message.without_system,
    )


def order_from_proto(value: pb.JobOrder.ValueType) -> job_search.Order:
    """Return an order of jobs. Raises `InvalidArgument` for an unknown value."""
    if value not in _ORDERS:
        raise errors.InvalidArgument("order must be a known order.", field="order")
    return _ORDERS[value]


def row_to_proto(row: job_search.Row) -> pb.JobRow:
    """Return a job of a list as proto."""
    return pb.JobRow(
        # Without the payload, which may have sensitive fields.
        job=job_to_proto(row.job, max_bytes=0),
        worker=row.worker,
        wait=protobuf.to_duration(row.wait),
        run=protobuf.to_duration(row.run),
    )


def count_to_proto(count: job_search.Count) -> pb.CountJobsResponse:
    """Return a count as proto."""
    return pb.CountJobsResponse(
        count=count.count,
        has_more=count.has_more,
        owner_count=count.owners,
        groups=[pb.JobCount(kind=kind, state=state_to_proto(state), count=jobs) for kind, state, jobs in count.groups],
    )


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


def position(parts: list[str]) -> tuple[int, int]:
    """Return attempt and number of the position of a page token. Raises `InvalidArgument`."""
    try:
        attempt, number = (int(part) for part in parts)
    except ValueError:
        raise paging.invalid_token() from None
    if not (0 < attempt < 1 << 31 and 0 < number < 1 << 31):
        raise paging.invalid_token()
    return attempt, number


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
        sensitive_fields=row["sensitive"],
    )
