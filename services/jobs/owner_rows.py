"""The tables of this service that the export of a user's data contains, and those that it leaves out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chassis.owner_rows import OwnerTable
from services.jobs import schema

_ENGINE = [
    "budget",
    "backoff",
    "max_backoff",
    "attempt_timeout",
    "total_timeout",
    "deadline",
    "unique_key",
    "concurrency_key",
    "priority",
    "fair_rank",
    "ready",
    "awaits_children",
    "undoes",
    "crashes",
    "errors",
    "worker",
    "lease_until",
    "progress_attempt",
    "progress_rate",
    "progress_at",
    "hold_run_at",
    "payload_bytes",
    "version",
]
TABLES: Sequence[OwnerTable] = (
    OwnerTable(
        table=schema.jobs,
        omitted={
            **dict.fromkeys(_ENGINE, "bookkeeping of the engine"),
            "payload": "may have fields that its kind declares sensitive; the service of the kind exports what was requested",
        },
    ),
    OwnerTable(table=schema.job_events, omitted={"event": "the same in binary form"}),
    OwnerTable(table=schema.owners, omitted={"timeline": "bookkeeping of event cursors"}),
)
LEFT_OUT: Mapping[str, str] = {
    "jobs.attempts": "Tracebacks, workers and hosts, for operators; jobs.jobs has the outcome and its message.",
    "jobs.attempt_logs": "Log lines of the program, for operators.",
    "jobs.checkpoints": "Where a running job resumes.",
    "jobs.deleted_jobs": "Ids of deleted jobs, without an owner.",
    "jobs.job_changes": "Who put jobs on hold and released them, for operators; jobs.job_events has when.",
    "jobs.kinds": "Types of jobs, of no owner.",
    "jobs.kind_changes": "Who paused and limited types of jobs, for operators.",
    "jobs.kind_rates": "Counts of all owners together.",
    "jobs.schedules": "Belong to operators.",
    "jobs.workers": "Processes, of no owner.",
    "jobs.outbox": "Messages that are being sent.",
    "jobs.schema_version": "The version of the tables.",
}
"""Tables that are left out, with the reason."""
