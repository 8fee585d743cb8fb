"""Maps rows of the table `jobs` to jobs, and specs to rows. Columns are in the order of `schema.jobs`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from services.jobs import domain, outcomes, schema, sql
from services.jobs.domain import Job, State

_MAX_ESTIMATE_SECONDS = 365 * 86_400.0


_COLUMNS = {column.name: position for position, column in enumerate(schema.jobs.c)}


def _compile(source: str, **names: Any) -> Callable[..., Any]:
    """Return a function of our own source: as fast as if every column were written by hand, by position."""
    function: Callable[..., Any] = eval(source, names)  # noqa: S307 - never of input
    return function


def _constructor(cls: type[Any], columns: Mapping[str, str], *others: str) -> Callable[..., Any]:
    """Return a function of a row and the `others` that makes a `cls`."""
    arguments = [f"{field}=row[{_COLUMNS[column]}]" for field, column in columns.items()]
    arguments += [f"{field}={field}" for field in others]
    return _compile(f"lambda row, {', '.join(others)}: cls({', '.join(arguments)})", cls=cls)


_spec = _constructor(
    domain.Spec, {name: column.name for name, column in sql.SPEC.items() if name != "payload"}, "payload"
)
_other_columns = itemgetter(
    *(
        _COLUMNS[name]
        for name in (
            *("payload", "state", "attempt", "progress_rate", "progress_at", "progress_attempt", "progress_done"),
            *("progress_total", "progress_message", "error_code", "error_message"),
            *("children_total", "children_ended", "children_unsuccessful"),
        )
    )
)
_job = _constructor(
    Job,
    {field.name: field.name for field in fields(Job) if field.name in _COLUMNS and field.name != "state"},
    *("spec", "state", "progress", "error", "children", "time_left", "has_payload"),
)


def job(row: Sequence[Any]) -> Job:
    """Return the job of a row. A field of `Job` that has the name of a column has its value."""
    payload, name, attempt, rate, since, progress_attempt, done, total, text, code, message, *children = _other_columns(
        row
    )
    state = State(name)
    estimate = None
    if rate and total and state is State.RUNNING and progress_attempt == attempt:
        estimate = _estimate(since, (total - done) / rate)
    stored: Job = _job(
        row,
        _spec(row, payload or {}),
        state,
        domain.Progress(done=done, total=total, message=text, estimate=estimate),
        domain.JobError(code=code, message=message) if code else None,
        domain.Children(total=children[0], ended=children[1], unsuccessful=children[2]),
        row[len(_COLUMNS)] if len(row) > len(_COLUMNS) else None,
        payload is not None,
    )
    return stored


def _encode_field(name: str, column: sa.Column[Any]) -> str:
    value = f"spec.{name}"
    if isinstance(column.type, sa.Interval):
        return f"None if {value} is None else {value}.total_seconds()"
    return f"{value} and str({value})" if isinstance(column.type, sa.Uuid | sa.DateTime) else value


_spec_row = _compile(
    "lambda position, job_id, spec: {'position': position, 'job_id': str(job_id), "
    + ", ".join(f"{name!r}: {_encode_field(name, column)}" for name, column in sql.SPEC.items())
    + "}"
)


def specs(submits: Sequence[tuple[UUID, domain.Spec]]) -> str:
    """Return jobs as the JSON that `statements.INSERT_JOBS` takes."""
    return json.dumps([_spec_row(position, *submit) for position, submit in enumerate(submits)])


def ends_to_json(decisions: Sequence[tuple[Job, outcomes.Outcome, outcomes.Decision]]) -> str:
    """Return decisions as the JSON that `statements.END_ATTEMPTS` takes."""
    return json.dumps([_end(job, outcome, decision) for job, outcome, decision in decisions])


def completions(completed: Mapping[tuple[UUID, int], outcomes.Completed]) -> str:
    """Return outcomes as the JSON that `statements.COMPLETE_ATTEMPTS` takes."""
    return json.dumps(
        [
            {
                "job_id": str(job_id),
                "attempt": attempt,
                "kind_prefix": outcome.kind_prefix,
                "result": outcome.result,
                **_progress(outcome),
            }
            for (job_id, attempt), outcome in sorted(completed.items(), key=itemgetter(0))
        ]
    )


def _end(job: Job, outcome: outcomes.Outcome, decision: outcomes.Decision) -> dict[str, Any]:
    failure = outcome.error if isinstance(outcome, outcomes.Failed) else None
    exception = outcome.exception if isinstance(outcome, outcomes.Failed) else None
    is_crash = isinstance(outcome, outcomes.Crashed)
    return {
        "job_id": str(job.job_id),
        "attempt": job.attempt,
        "action": decision.action,
        "state": domain.TRANSITIONS[decision.action][1],
        "outcome": outcomes.outcome_name(outcome),
        "attempt_error_code": failure and failure.code,
        "attempt_error_message": failure and failure.message,
        "exception_type": exception and exception.type,
        "exception_message": exception and exception.message,
        "traceback": exception and exception.traceback,
        "place": exception and exception.place,
        "fingerprint": outcomes.fingerprint(job.spec.kind, outcome),
        "lease_until": job.lease_until.isoformat() if is_crash and job.lease_until else None,
        "result": decision.result,
        "error_code": decision.error and decision.error.code,
        "error_message": decision.error and decision.error.message,
        "cancel_reason": decision.cancel_reason,
        "max_attempts": decision.max_attempts,
        "crashes": decision.crashes,
        "errors": decision.errors,
        "delay": decision.delay.total_seconds(),
        "awaits_children": decision.awaits_children,
        **_progress(outcome),
    }


def _progress(outcome: outcomes.Outcome) -> dict[str, Any]:
    progress = outcome.progress if isinstance(outcome, outcomes.Completed) else None
    if progress is None:
        return {}
    return {
        "progress_done": progress.done,
        "progress_total": progress.total,
        "progress_message": progress.message,
    }


def _estimate(since: datetime, seconds: float) -> datetime | None:
    return since + timedelta(seconds=seconds) if seconds < _MAX_ESTIMATE_SECONDS else None
