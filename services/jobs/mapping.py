"""Maps rows of the table `jobs` to jobs, and specs to rows. Columns are in the order of `schema.jobs`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any
from uuid import UUID

from services.jobs import domain
from services.jobs.domain import Job, State

_MAX_ESTIMATE_SECONDS = 365 * 86_400.0


def job(row: Sequence[Any]) -> Job:
    """Return the job of a row, by position: a lookup by name would cost more than all the rest."""
    # fmt: off
    (
        job_id, owner_id, kind, payload, priority, budget, backoff, max_backoff, attempt_timeout, unique_key,
        scheduled_at, state, run_at, attempt, max_attempts, crashes, errors, worker, lease_until,
        progress_attempt, done, total, message, result, error_code, error_message, cancel_reason, version,
        created_at, started_at, finished_at, concurrency_key, total_timeout, deadline, parent_id,
        children_total, children_ended, children_unsuccessful, awaits_children, notify_owner, has_undo, _read_at, fair_rank,
        ready, rate, progress_at, payload_bytes, *time_left,
    ) = row
    # fmt: on
    state = State(state)
    estimate = None
    if rate and total and state is State.RUNNING and progress_attempt == attempt:
        estimate = _estimate(progress_at, (total - done) / rate)
    return Job(
        job_id=job_id,
        spec=domain.Spec(
            kind=kind,
            owner_id=owner_id,
            payload=payload or {},
            priority=priority,
            run_at=scheduled_at,
            max_attempts=budget,
            backoff=backoff,
            max_backoff=max_backoff,
            attempt_timeout=attempt_timeout,
            total_timeout=total_timeout,
            unique_key=unique_key,
            concurrency_key=concurrency_key,
            parent_id=parent_id,
            notify_owner=notify_owner,
            has_undo=has_undo,
        ),
        state=state,
        attempt=attempt,
        max_attempts=max_attempts,
        crashes=crashes,
        errors=errors,
        progress=domain.Progress(done=done, total=total, message=message, estimate=estimate),
        version=version,
        created_at=created_at,
        worker=worker,
        result=result,
        error=domain.JobError(code=error_code, message=error_message) if error_code else None,
        cancel_reason=cancel_reason,
        started_at=started_at,
        finished_at=finished_at,
        deadline=deadline,
        run_at=run_at,
        lease_until=lease_until,
        children=domain.Children(total=children_total, ended=children_ended, unsuccessful=children_unsuccessful),
        awaits_children=awaits_children,
        ready=ready,
        time_left=time_left[0] if time_left else None,
        fair_rank=fair_rank,
        payload_bytes=payload_bytes,
        has_payload=payload is not None,
    )


def specs(submits: Sequence[tuple[UUID, domain.Spec]]) -> str:
    """Return jobs as the JSON that `statements.INSERT_JOBS` takes."""
    return json.dumps(
        [
            {
                "position": position,
                "job_id": str(job_id),
                "owner_id": str(spec.owner_id),
                "kind": spec.kind,
                "payload": spec.payload,
                "priority": spec.priority,
                "run_at": spec.run_at and spec.run_at.isoformat(),
                "max_attempts": spec.max_attempts,
                "backoff": spec.backoff.total_seconds(),
                "max_backoff": spec.max_backoff.total_seconds(),
                "attempt_timeout": spec.attempt_timeout.total_seconds(),
                "total_timeout": spec.total_timeout and spec.total_timeout.total_seconds(),
                "unique_key": spec.unique_key,
                "concurrency_key": spec.concurrency_key,
                "parent_id": spec.parent_id and str(spec.parent_id),
                "notifies": spec.notify_owner,
                "undoes": spec.has_undo,
            }
            for position, (job_id, spec) in enumerate(submits)
        ]
    )


def ends(decisions: Sequence[tuple[Job, domain.Outcome, domain.Decision]]) -> str:
    """Return decisions as the JSON that `statements.END_ATTEMPTS` takes."""
    return json.dumps([_end(held, outcome, decision) for held, outcome, decision in decisions])


def completions(outcomes: Mapping[tuple[UUID, int], domain.Completed]) -> str:
    """Return outcomes as the JSON that `statements.COMPLETE_ATTEMPTS` takes."""
    return json.dumps(
        [
            {"job_id": str(job_id), "attempt": attempt, "result": outcome.result, **_progress(outcome)}
            for (job_id, attempt), outcome in sorted(outcomes.items(), key=itemgetter(0))
        ]
    )


def _end(held: Job, outcome: domain.Outcome, decision: domain.Decision) -> dict[str, Any]:
    failure = outcome.error if isinstance(outcome, domain.Failed) else None
    exception = outcome.exception if isinstance(outcome, domain.Failed) else None
    is_crash = isinstance(outcome, domain.Crashed)
    return {
        "job_id": str(held.job_id),
        "attempt": held.attempt,
        "action": decision.action,
        "state": domain.TRANSITIONS[decision.action][1],
        "outcome": domain.outcome_name(outcome),
        "attempt_error_code": failure and failure.code,
        "attempt_error_message": failure and failure.message,
        "exception_type": exception and exception.type,
        "exception_message": exception and exception.message,
        "traceback": exception and exception.traceback,
        "place": exception and exception.place,
        "fingerprint": domain.fingerprint(held.spec.kind, outcome),
        "lease_until": held.lease_until.isoformat() if is_crash and held.lease_until else None,
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


def _progress(outcome: domain.Outcome) -> dict[str, Any]:
    progress = outcome.progress if isinstance(outcome, domain.Completed) else None
    if progress is None:
        return {}
    return {
        "progress_done": progress.done,
        "progress_total": progress.total,
        "progress_message": progress.message,
    }


def _estimate(since: datetime, seconds: float) -> datetime | None:
    return since + timedelta(seconds=seconds) if seconds < _MAX_ESTIMATE_SECONDS else None
