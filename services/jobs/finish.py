"""Finishing attempts: many per call, each fenced separately."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from uuid import UUID

from chassis import errors
from services.jobs import counters, domain, log_lines, outcomes, storage, worker_versions
from services.jobs.domain import Job
from services.jobs.transaction import Transaction

logger = logging.getLogger(__name__)

PAYLOAD_INVALID = "payload_invalid"
Finish = tuple[UUID, int, outcomes.Outcome]
"""Job, attempt, outcome."""


def is_completed(completed: Mapping[tuple[UUID, int], Job], finish: Finish) -> bool:
    """Return whether `complete` has applied this finish; another outcome of the same attempt does not count."""
    return finish[:2] in completed and isinstance(finish[2], outcomes.Completed)


async def end(tx: Transaction, finishes: Sequence[Finish]) -> list[Job | errors.Error]:
    """End attempts; return for each the job after it, or the error."""
    jobs = await storage.lock_jobs(tx.conn, {job_id for job_id, _, _ in finishes})
    finishes = await _postpone_unread(tx, finishes)
    decisions: dict[UUID, tuple[Job, outcomes.Outcome, outcomes.Decision]] = {}
    positions = {}
    for position, (job_id, attempt, outcome) in enumerate(finishes):
        job = jobs.get(job_id)
        # Of two finishes of one attempt in one call the first counts.
        is_held = job is not None and job.attempt == attempt and job.state in domain.HELD
        if job and is_held and _is_of_caller(job, outcome) and job_id not in decisions:
            decisions[job_id] = (job, outcome, outcomes.decide(job, outcome, jitter=outcomes.jitter()))
            positions[position] = (job_id, attempt)
    moved_jobs = await apply(tx, list(decisions.values()))
    await _append_lines(tx, [(job.job_id, job.attempt, outcome) for job, outcome, _ in decisions.values()])
    current = jobs | {job.job_id: job for job in moved_jobs.values()}
    return [
        moved_jobs[positions[position]]
        if position in positions
        else await _answer_superseded(tx, current.get(finish[0]), finish)
        for position, finish in enumerate(finishes)
    ]


async def complete(tx: Transaction, finishes: Sequence[Finish]) -> dict[tuple[UUID, int], Job]:
    """Complete the jobs that need no decision, and return them; `end` takes the others.

    If it completes any, `end` needs another transaction: owners are locked now, and jobs must be locked before owners.
    """
    completions: dict[tuple[UUID, int], outcomes.Completed] = {}
    for job_id, attempt, outcome in finishes:
        if isinstance(outcome, outcomes.Completed):
            completions.setdefault((job_id, attempt), outcome)
    if not completions:
        return {}
    completed = await storage.complete_attempts(tx.conn, completions, tx.sequence_of)
    tx.transitions += [(job, "completed") for job in completed.values()]
    await _append_lines(tx, [(*key, outcome) for key, outcome in completions.items() if key[0] in completed])
    return {(job.job_id, job.attempt): job for job in completed.values()}


async def apply(
    tx: Transaction, decisions: Sequence[tuple[Job, outcomes.Outcome, outcomes.Decision]]
) -> dict[tuple[UUID, int], Job]:
    """Apply decisions to locked jobs."""
    if not decisions:
        return {}
    has_effects = any(job.spec.concurrency_key or job.spec.parent_id or job.spec.has_undo for job, _, _ in decisions)
    jobs = await storage.end_attempts(tx.conn, decisions, None if has_effects or tx.transitions else tx.sequence_of)
    if len(jobs) != len(decisions):
        # The rows are locked and their states were read in this transaction: an update without a row is a bug.
        raise errors.Internal("A locked job changed its state.")
    for job, _, decision in decisions:
        tx.transitions.append((jobs[job.job_id], decision.reason))
    return {(job.job_id, job.attempt): jobs[job.job_id] for job, _, _ in decisions}


async def _postpone_unread(tx: Transaction, finishes: Sequence[Finish]) -> Sequence[Finish]:
    """Snooze jobs of locked rows whose worker cannot read their payload while a newer version of it runs."""
    unread = {
        job_id: attempt
        for job_id, attempt, outcome in finishes
        if isinstance(outcome, outcomes.Failed) and outcome.error.code == PAYLOAD_INVALID
    }
    if not unread or not (postponed := await worker_versions.with_newer_workers(tx.conn, unread)):
        return finishes
    for job_id in postponed:
        extra = {"job_id": str(job_id), "attempt": unread[job_id]}
        logger.warning("job postponed: a newer version of its worker may read its payload", extra=extra)
    return [
        (
            job_id,
            attempt,
            _snoozed(outcome) if job_id in postponed and isinstance(outcome, outcomes.Failed) else outcome,
        )
        for job_id, attempt, outcome in finishes
    ]


def _snoozed(outcome: outcomes.Failed) -> outcomes.Snoozed:
    return outcomes.Snoozed(delay=worker_versions.POSTPONE, lines=outcome.lines, kind_prefix=outcome.kind_prefix)


async def _append_lines(tx: Transaction, ended: Sequence[Finish]) -> None:
    """Append the last log lines of attempts that this transaction has ended."""
    lines = {
        (job_id, attempt): outcome.lines
        for job_id, attempt, outcome in ended
        if not isinstance(outcome, outcomes.Crashed) and outcome.lines
    }
    if lines:
        await log_lines.append(tx.conn, lines, is_end=True)


async def _answer_superseded(tx: Transaction, job: Job | None, finish: Finish) -> Job | errors.Error:
    """Answer a finish of an attempt that holds no lease; repeating the recorded outcome is no error."""
    job_id, attempt, outcome = finish
    if job is None:
        return errors.NotFound("There is no such job.", code="job_not_found")
    if not _is_of_caller(job, outcome):
        return errors.PermissionDenied("The job is of a kind of another service.", code="kind_not_owned")
    if await storage.attempt_outcome(tx.conn, job_id, attempt) == outcomes.outcome_name(outcome):
        return job
    return lease_lost(job_id, attempt)


def _is_of_caller(job: Job, outcome: outcomes.Outcome) -> bool:
    return isinstance(outcome, outcomes.Crashed) or job.spec.kind.startswith(outcome.kind_prefix)


def is_lease_lost(result: object) -> bool:
    """Return whether a finish came from an attempt that had lost its lease."""
    return isinstance(result, errors.Aborted)


def lease_lost(job_id: UUID, attempt: int) -> errors.Aborted:
    """Return the error for a write of a superseded attempt, and count it."""
    counters.FENCED_WRITES.inc()
    return errors.Aborted(f"Attempt {attempt} of job {job_id} no longer holds the lease.", code="lease_lost")
