"""Commands for the engine: kinds, schedules, workers and stuck jobs."""

from __future__ import annotations

import argparse

from repruv.jobs.v1 import admin_service_pb2 as messages
from repruv.jobs.v1 import kind_pb2
from services.jobs.admin import answers, tables
from services.jobs.admin.connection import Connection

COMMAND_LINE = "the command line"


async def set_limits(jobs: Connection, args: argparse.Namespace) -> int:
    """Change the named limits; the others are unchanged."""
    response = await jobs.call(jobs.admin.ListKinds, messages.ListKindsRequest())
    limits = next((kind.limits for kind in response.kinds if kind.kind == args.kind), kind_pb2.KindLimits())
    if args.kind == "*":
        limits.max_running_per_key = 0
    if args.max_running is not None:
        limits.max_running = args.max_running
    if args.max_running_per_key is not None:
        limits.max_running_per_key = args.max_running_per_key
    if args.rate is not None:
        limits.rate_count, period = args.rate
        limits.ClearField("rate_period")
        if period:
            limits.rate_period.FromTimedelta(period)
    request = messages.SetKindLimitsRequest(kind=args.kind, limits=limits)
    answer = await jobs.call(jobs.admin.SetKindLimits, request)
    return answers.output(args, answer.kind, show_kinds)


def _pause(kind: kind_pb2.Kind) -> str:
    """Return since when a kind is paused, and the admin; `kind` lists the pauses of the command line."""
    if not kind.HasField("pause_time"):
        return tables.NOTHING
    return f"since {tables.at(kind, 'pause_time')}" + (f" by {kind.pauser_id}" if kind.pauser_id else "")


def show_kinds(*kinds: kind_pb2.Kind) -> None:
    rows = [
        (
            kind.kind,
            tables.NOTHING if kind.kind == "*" else "yes" if kind.has_worker else "no",
            _pause(kind),
            _limits(kind.limits),
            ", ".join(f"{count:,} {state}" for state, count in sorted(kind.counts.items())) or tables.NOTHING,
            tables.since(kind, "oldest_waiting_time"),
        )
        for kind in kinds
    ]
    tables.show(("KIND", "WORKER", "PAUSED", "LIMITS", "JOBS", "OLDEST WAITING"), rows, nothing="no kinds")


def show_kind(response: messages.GetKindResponse) -> None:
    """Print a kind, and who changed it."""
    show_kinds(response.kind)
    print()
    rows = [
        (tables.at(change, "time"), change.change, change.details or tables.NOTHING, change.actor_id or COMMAND_LINE)
        for change in response.changes
    ]
    tables.show(("TIME", "CHANGE", "LIMITS", "BY"), rows, nothing="no changes by operators")


def _limits(limits: kind_pb2.KindLimits) -> str:
    parts = [
        f"{limits.max_running:,} at once" if limits.max_running else "",
        f"{limits.max_running_per_key:,} per key" if limits.max_running_per_key > 1 else "",
        f"{limits.rate_count:,} per {tables.length(limits, 'rate_period')}" if limits.rate_count else "",
    ]
    return ", ".join(filter(None, parts)) or tables.NOTHING


def show_schedules(*schedules: kind_pb2.Schedule) -> None:
    rows = [
        (
            schedule.registration.name,
            schedule.registration.kind,
            schedule.registration.cron,
            schedule.registration.time_zone,
            "paused" if schedule.HasField("pause_time") else tables.at(schedule, "next_time"),
            tables.at(schedule, "last_time"),
            schedule.last_job_id or tables.NOTHING,
        )
        for schedule in schedules
    ]
    header = ("SCHEDULE", "KIND", "CRON", "TIME ZONE", "NEXT", "LAST", "LAST JOB")
    tables.show(header, rows, nothing="no schedules")


def show_stuck(response: messages.ListStuckJobsResponse) -> None:
    rows = [
        (
            stuck.job.job_id,
            stuck.job.spec.kind,
            tables.state_of(stuck.job),
            stuck.reason,
            tables.length(stuck, "age"),
            stuck.job.spec.owner_id,
        )
        for stuck in response.jobs
    ]
    tables.show(("JOB", "KIND", "STATE", "REASON", "FOR", "OWNER"), rows, nothing="nothing is stuck")


def show_workers(response: messages.ListWorkersResponse) -> None:
    rows = [
        (
            worker.worker,
            ", ".join(worker.kinds) or tables.NOTHING,
            tables.since(worker, "seen_time"),
            f"{worker.held_count}/{worker.info.concurrency}" if worker.info.concurrency else str(worker.held_count),
            tables.since(worker, "lease_time"),
            worker.info.host or tables.NOTHING,
            worker.info.version[:7] or tables.NOTHING,
            tables.since(worker.info, "start_time"),
        )
        for worker in response.workers
    ]
    tables.show(
        ("WORKER", "KINDS", "SEEN", "HOLDS", "FIRST LEASE ENDS", "HOST", "VERSION", "STARTED"),
        rows,
        nothing="no workers",
    )
