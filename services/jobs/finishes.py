"""Ending attempts: many at once, each fenced by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from chassis import errors
from services.jobs import domain, storage
from services.jobs.domain import Job
from services.jobs.transaction import Transaction

Finish = tuple[UUID, int, domain.Outcome]
"""Job, attempt, how it ended."""


def is_done(done: Mapping[tuple[UUID, int], Job], finish: Finish) -> bool:
    """Say whether `complete` has done it: another outcome of the same attempt is another matter."""
    return finish[:2] in done and isinstance(finish[2], domain.Completed)


async def end(tx: Transaction, finishes: Sequence[Finish]) -> list[Job | errors.Error]:
    """End attempts; for each the job after it, or why it was refused."""
    held = await storage.lock_jobs(tx.conn, {job_id for job_id, _, _ in finishes})
    now = datetime.now(UTC)
    decided: dict[UUID, tuple[Job, domain.Outcome, domain.Decision]] = {}
    positions = {}
    for position, (job_id, attempt, outcome) in enumerate(finishes):
        job = held.get(job_id)
        # Of two that come at once about one attempt the first counts.
        if job and job.attempt == attempt and job.state in domain.HELD and job_id not in decided:
            decided[job_id] = (job, outcome, domain.decide(job, outcome, jitter=domain.jitter(), now=now))
            positions[position] = (job_id, attempt)
    ended = await apply(tx, list(decided.values()))
    now_are = held | {job.job_id: job for job in ended.values()}
    return [
        ended[positions[position]] if position in positions else await _late(tx, now_are.get(finish[0]), finish)
        for position, finish in enumerate(finishes)
    ]


async def complete(tx: Transaction, finishes: Sequence[Finish]) -> dict[tuple[UUID, int], Job]:
    """Complete the jobs for which nothing has to be decided; gives those. The others are for `end`.

    In a transaction of its own if there are any: then owners are locked already, and jobs must not be after them.
    """
    results: dict[tuple[UUID, int], dict[str, Any]] = {}
    for job_id, attempt, outcome in finishes:
        if isinstance(outcome, domain.Completed):
            results.setdefault((job_id, attempt), outcome.result)
    if not results:
        return {}
    ended = await storage.complete_attempts(tx.conn, results, tx.numbers)
    tx.moved += [(job, "completed") for job in ended.values()]
    return {(job.job_id, job.attempt): job for job in ended.values()}


async def apply(
    tx: Transaction, decided: Sequence[tuple[Job, domain.Outcome, domain.Decision]]
) -> dict[tuple[UUID, int], Job]:
    """Do what was decided about locked jobs."""
    if not decided:
        return {}
    follows = any(job.spec.concurrency_key or job.spec.parent_id or job.spec.undoes for job, _, _ in decided)
    ended = await storage.end_attempts(tx.conn, decided, None if follows or tx.moved else tx.numbers)
    if len(ended) != len(decided):
        # The rows were locked and their states read in this transaction, so a guard that finds nothing is a bug.
        raise errors.Internal("A locked job changed its state.")
    for job, _, decision in decided:
        tx.moved.append((ended[job.job_id], decision.reason))
    return {(job.job_id, job.attempt): ended[job.job_id] for job, _, _ in decided}


async def _late(tx: Transaction, job: Job | None, finish: Finish) -> Job | errors.Error:
    """Answer a finish of an attempt that holds nothing: the same outcome told twice is no error."""
    job_id, attempt, outcome = finish
    if job is None:
        return errors.NotFound("There is no such job.", code="job_not_found")
    if await storage.attempt_outcome(tx.conn, job_id, attempt) == domain.outcome_name(outcome):
        return job
    return lease_lost(job_id, attempt)


def lease_lost(job_id: UUID, attempt: int) -> errors.Aborted:
    """Refuse a write of a stale attempt."""
    return errors.Aborted(f"Attempt {attempt} of job {job_id} no longer holds the lease.", code="lease_lost")
