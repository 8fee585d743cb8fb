"""Conversion between kinds, workers, stuck jobs and proto messages. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from google.protobuf import unknown_fields

from chassis import errors, ids, paging, protobuf
from repruv.jobs.v1 import admin_service_pb2 as pb
from repruv.jobs.v1 import kind_pb2
from services.jobs import domain
from services.jobs.convert import STATES, job_to_proto
from services.jobs.operators import (
    bulk,
    change_log,
    error_groups,
    job_filters,
    job_search,
    kind_controls,
    overview,
)
from services.jobs.rates import histogram, reader

ORDERS = protobuf.Enum(pb.JobOrder.DESCRIPTOR, job_search.Order, "order", unset=job_search.Order.NEWEST)
_CHANGES = protobuf.Enum(pb.JobChange.DESCRIPTOR, bulk.Change, "change")
_VERSION_1 = {pb.JOB_CHANGE_RETRY_V2: pb.JOB_CHANGE_RETRY, pb.JOB_CHANGE_CANCEL_V2: pb.JOB_CHANGE_CANCEL}
_VERSION_1_FIELDS = 10
"""The last field of `JobFilter` that release 1.0 knows."""
SPANS = protobuf.Enum(pb.RateSpan.DESCRIPTOR, reader.Span, "span", unset=reader.Span.HOUR)


def filter_from_proto(message: pb.JobFilter) -> job_filters.JobFilter:
    """Return a filter of jobs. Raises `InvalidArgument`."""
    times = {
        name: protobuf.from_timestamp(getattr(message, name), name)
        for name in ("create_time_from", "create_time_until", "finish_time_from", "finish_time_until")
        if message.HasField(name)
    }
    return job_filters.JobFilter(
        states=frozenset(map(STATES.from_proto, message.states)),
        kinds=frozenset(message.kinds),
        owner_id=ids.parse(message.owner_id, "owner_id") if message.owner_id else None,
        worker=message.worker,
        error_code=message.error_code,
        created_from=times.get("create_time_from"),
        created_until=times.get("create_time_until"),
        finished_from=times.get("finish_time_from"),
        finished_until=times.get("finish_time_until"),
        problem=message.problem,
        without_kinds=frozenset(message.without_kinds),
        text=message.text,
        without_system=message.without_system,
        fingerprint=message.fingerprint,
        on_hold=message.on_hold,
    )


def change_from_proto(message: pb.ChangeJobsRequest) -> tuple[job_filters.JobFilter, bulk.Change]:
    """Return the filter and the change.

    Raises `InvalidArgument`, also for a field of the filter that this release does not know, or that a replica of release 1.0
    would ignore: without it, the change would apply to more jobs than were asked for.
    """
    if len(unknown_fields.UnknownFieldSet(message.filter)):
        text = "filter has a field that this release does not know. Try again when every replica is updated."
        raise errors.InvalidArgument(text, field="filter")
    version_1 = _VERSION_1.get(message.change)
    is_of_version_1 = message.change in _VERSION_1.values()
    if is_of_version_1 and any(field.number > _VERSION_1_FIELDS for field, _ in message.filter.ListFields()):
        text = "change must be JOB_CHANGE_RETRY_V2 or JOB_CHANGE_CANCEL_V2 with this filter."
        raise errors.InvalidArgument(text, field="change")
    return filter_from_proto(message.filter), _CHANGES.from_proto(version_1 or message.change)


def row_to_proto(row: job_search.Row) -> pb.JobRow:
    return pb.JobRow(
        # Without the payload, which may have sensitive fields.
        job=job_to_proto(row.job, max_bytes=0),
        worker=row.worker,
        wait=protobuf.to_duration(row.wait),
        run=protobuf.to_duration(row.run),
    )


def count_to_proto(count: job_search.Count) -> pb.CountJobsResponse:
    return pb.CountJobsResponse(
        count=count.count,
        has_more=count.has_more,
        owner_count=count.owners,
        groups=[pb.JobCount(kind=kind, state=STATES.to_proto(state), count=jobs) for kind, state, jobs in count.groups],
    )


def limits_from_proto(kind: str, message: kind_pb2.KindLimits) -> kind_controls.Limits:
    """Return the limits of a kind. Raises `InvalidArgument`."""
    return kind_controls.Limits(
        kind=kind,
        max_running=message.max_running,
        max_running_per_key=message.max_running_per_key,
        rate_count=message.rate_count,
        rate_period=protobuf.from_duration(message.rate_period, "rate_period")
        if message.HasField("rate_period")
        else None,
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
        pauser_id=str(row["paused_by"] or ""),
        register_time=protobuf.to_timestamp(row["declared_at"]),
        has_worker=row["has_worker"],
        counts=row["counts"],
        oldest_waiting_time=protobuf.to_timestamp(row["oldest_waiting_at"]),
    )


def kind_change_to_proto(change: change_log.KindChange) -> pb.KindChange:
    return pb.KindChange(
        change=change.change,
        details=change.details,
        actor_id=str(change.actor_id or ""),
        time=protobuf.to_timestamp(change.changed_at),
    )


def stuck_to_proto(stuck: overview.StuckJob, job: domain.Job) -> pb.StuckJob:
    """Return a stuck job as proto; `job` has no values of sensitive fields."""
    return pb.StuckJob(job=job_to_proto(job), reason=stuck.reason, age=protobuf.to_duration(stuck.age))


def worker_to_proto(worker: overview.Worker) -> pb.Worker:
    return pb.Worker(
        worker=worker.worker,
        kinds=worker.kinds,
        seen_time=protobuf.to_timestamp(worker.seen_at),
        held_count=worker.held,
        lease_time=protobuf.to_timestamp(worker.lease_until),
        info=kind_pb2.WorkerInfo(
            host=worker.host,
            version=worker.version,
            concurrency=worker.concurrency,
            start_time=protobuf.to_timestamp(worker.started_at),
        ),
        held_jobs=[
            pb.HeldJob(job_id=job_id, kind=kind, start_time=protobuf.to_timestamp(datetime.fromisoformat(started_at)))
            for job_id, kind, started_at in worker.jobs
        ],
    )


def problem_to_proto(problem: overview.Problem) -> pb.Problem:
    return pb.Problem(
        reason=problem.reason,
        kind=problem.kind,
        count=problem.count,
        owner_count=problem.owner_count,
        age=protobuf.to_duration(problem.age),
    )


def group_to_proto(group: error_groups.ErrorGroup) -> pb.ErrorGroup:
    """Return a group of failed jobs as proto."""
    return pb.ErrorGroup(
        kind=group.kind,
        code=group.code,
        fingerprint=group.fingerprint,
        exception_type=group.exception_type,
        place=group.place,
        message=group.message,
        count=group.count,
        owner_count=group.owner_count,
        first_time=protobuf.to_timestamp(group.first_at),
        last_time=protobuf.to_timestamp(group.last_at),
        trend=group.trend,
        last_job_id=str(group.last_job_id),
    )


def rates_to_proto(rates: reader.Rates) -> pb.GetRatesResponse:
    return pb.GetRatesResponse(
        total=_kind_rates(rates.total),
        kinds=map(_kind_rates, rates.kinds),
        begin_time=protobuf.to_timestamp(rates.begins_at),
        end_time=protobuf.to_timestamp(rates.ends_at),
        step=protobuf.to_duration(rates.step),
    )


def _kind_rates(rates: reader.KindRates) -> pb.KindRates:
    return pb.KindRates(
        kind=rates.kind,
        completed=sum(point.completed for point in rates.points),
        failed=sum(point.failed for point in rates.points),
        cancelled=sum(point.cancelled for point in rates.points),
        wait_p50=protobuf.to_duration(histogram.percentile(rates.waits, 0.5)),
        wait_p95=protobuf.to_duration(histogram.percentile(rates.waits, 0.95)),
        run_p50=protobuf.to_duration(histogram.percentile(rates.runs, 0.5)),
        run_p95=protobuf.to_duration(histogram.percentile(rates.runs, 0.95)),
        points=[
            pb.RatePoint(
                completed=point.completed,
                failed=point.failed,
                cancelled=point.cancelled,
                waiting=point.waiting,
                wait_p95=protobuf.to_duration(point.wait_p95),
            )
            for point in rates.points
        ],
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
        payload_schema=row["payload_schema"] or "",
    )
