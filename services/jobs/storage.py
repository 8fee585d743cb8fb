"""Rows of jobs: one function a query. Every change of a state is an update guarded by the states it may come from."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis import postgres
from services.jobs import domain, statements
from services.jobs.domain import Action, Job, State
from services.jobs.schema import attempts, job_events, jobs

Attempts = Sequence[tuple[UUID, int]]

_now = sa.func.now()


async def insert_job(conn: AsyncConnection, job_id: UUID, spec: domain.Spec) -> Job | None:
    """Insert a job; None if the id is taken. Raises IntegrityError `jobs_unique_key`."""
    given = {
        "job_id": job_id,
        "owner_id": spec.owner_id,
        "kind": spec.kind,
        "payload": spec.payload,
        "priority": spec.priority,
        "budget": spec.max_attempts,
        "max_attempts": spec.max_attempts,
        "backoff": spec.backoff,
        "max_backoff": spec.max_backoff,
        "attempt_timeout": spec.attempt_timeout,
        "unique_key": spec.unique_key,
        "scheduled_at": spec.run_at,
        "run_at": spec.run_at,
    }
    return _job_or_none((await conn.execute(statements.INSERT_JOB, given)).mappings().first())


async def get_job(conn: AsyncConnection, job_id: UUID, *, lock: bool = False) -> Job | None:
    """Read a job; with `lock` nobody else changes it before the transaction ends."""
    statement = statements.LOCK_JOB if lock else statements.GET_JOB
    return _job_or_none((await conn.execute(statement, {"job_id": job_id})).mappings().first())


async def list_jobs(
    conn: AsyncConnection,
    *,
    owner_id: UUID | None,
    states: Collection[State],
    kinds: Collection[str],
    before: tuple[datetime, UUID] | None,
    limit: int,
) -> list[Job]:
    """Read jobs, newest first, that come after the position `before`."""
    statement = sa.select(jobs).order_by(jobs.c.created_at.desc(), jobs.c.job_id.desc()).limit(limit)
    if owner_id:
        statement = statement.where(jobs.c.owner_id == owner_id)
    if states:
        statement = statement.where(jobs.c.state.in_(states))
    if kinds:
        statement = statement.where(jobs.c.kind.in_(kinds))
    if before:
        statement = statement.where(sa.tuple_(jobs.c.created_at, jobs.c.job_id) < sa.tuple_(*before))
    return [_job(row) for row in (await conn.execute(statement)).mappings()]


async def list_attempts(conn: AsyncConnection, job_id: UUID) -> Sequence[Mapping[str, Any]]:
    """Read the attempts of a job, oldest first."""
    statement = sa.select(attempts).where(attempts.c.job_id == job_id).order_by(attempts.c.attempt)
    return [dict(row) for row in (await conn.execute(statement)).mappings()]


async def list_transitions(conn: AsyncConnection, job_id: UUID) -> Sequence[Mapping[str, Any]]:
    """Read the transitions of a job, oldest first."""
    columns = [column for column in job_events.c if column is not job_events.c.event]
    statement = sa.select(*columns).where(job_events.c.job_id == job_id).order_by(job_events.c.sequence)
    return [dict(row) for row in (await conn.execute(statement)).mappings()]


async def list_events(conn: AsyncConnection, owner_id: UUID, *, after: int, limit: int) -> list[bytes]:
    """Read the events of an owner after a sequence, in order, each as the JobEvent message that was published."""
    statement = (
        sa.select(job_events.c.event)
        .where(job_events.c.owner_id == owner_id, job_events.c.sequence > after)
        .order_by(job_events.c.sequence)
        .limit(limit)
    )
    return list((await conn.execute(statement)).scalars())


async def last_sequences(conn: AsyncConnection, owner_ids: Collection[UUID]) -> dict[UUID, int]:
    """Read the newest sequence of each owner that has one."""
    rows = await conn.execute(statements.LAST_SEQUENCES, {"owner_ids": list(owner_ids)})
    return {row.owner_id: row.last_sequence for row in rows}


async def claim_jobs(
    conn: AsyncConnection, *, worker: str, kinds: Collection[str], limit: int, lease: timedelta
) -> list[Job]:
    """Give runnable jobs to a worker, each under a new attempt, the most urgent first."""
    given = {"claimer": worker, "kinds": list(kinds), "limit": limit, "lease": lease}
    claimed = [_job(row) for row in (await conn.execute(statements.CLAIM_JOBS, given)).mappings()]
    return sorted(claimed, key=lambda job: (-job.spec.priority, job.job_id))


async def renew_leases(
    conn: AsyncConnection, *, worker: str, held: Attempts, lease: timedelta
) -> list[tuple[UUID, int, State]]:
    """Renew the leases a worker still holds, expired ones too unless somebody has judged them; gives those."""
    given = {
        "holder": worker,
        "job_ids": [job_id for job_id, _ in held],
        "attempts": [attempt for _, attempt in held],
        "lease": lease,
    }
    rows = await conn.execute(statements.RENEW_LEASES, given)
    return [(row.job_id, row.attempt, State(row.state)) for row in rows]


async def set_progress(conn: AsyncConnection, job_id: UUID, attempt: int, progress: domain.Progress) -> Job | None:
    """Store how far the attempt has come, never less than before; None if the attempt is not the one that runs."""
    given = {
        "of_job": job_id,
        "of_attempt": attempt,
        "done": progress.done,
        "total": progress.total,
        "message": progress.message,
    }
    return _job_or_none((await conn.execute(statements.SET_PROGRESS, given)).mappings().first())


async def end_attempt(
    conn: AsyncConnection, job: Job, decision: domain.Decision, outcome: domain.Outcome
) -> Job | None:
    """Apply what was decided about a held job; None if the attempt no longer holds it."""
    error = outcome.error if isinstance(outcome, domain.Failed) else None
    given = {
        "of_job": job.job_id,
        "of_attempt": job.attempt,
        "attempt_outcome": domain.outcome_name(outcome),
        "attempt_error_code": error and error.code,
        "attempt_error_message": error and error.message,
        "job_result": decision.result,
        "job_error_code": decision.error and decision.error.code,
        "job_error_message": decision.error and decision.error.message,
        "reason": decision.cancel_reason,
        "most_attempts": decision.max_attempts,
        "crash_count": decision.crashes,
        "error_count": decision.errors,
        "delay": decision.delay,
    }
    return _job_or_none((await conn.execute(statements.end_attempt(decision.action), given)).mappings().first())


async def attempt_outcome(conn: AsyncConnection, job_id: UUID, attempt: int) -> str | None:
    """Read how an attempt ended; None while it runs, or if there is no such attempt."""
    statement = sa.select(attempts.c.outcome).where(attempts.c.job_id == job_id, attempts.c.attempt == attempt)
    outcome: str | None = (await conn.execute(statement)).scalar()
    return outcome


async def cancel_waiting(conn: AsyncConnection, job: Job, reason: str) -> Job | None:
    """Cancel a job that no worker holds; None if its state has changed."""
    return await _move(
        conn, job.job_id, Action.CANCEL, attempt=job.attempt, values={"cancel_reason": reason, "finished_at": _now}
    )


async def request_cancel(conn: AsyncConnection, job: Job, reason: str) -> Job | None:
    """Ask the worker of a running job to stop; None if its state has changed."""
    return await _move(conn, job.job_id, Action.REQUEST_CANCEL, attempt=job.attempt, values={"cancel_reason": reason})


async def reopen(conn: AsyncConnection, job: Job) -> Job | None:
    """Make an ended job pending with a fresh budget; None if its state has changed. Raises IntegrityError `jobs_unique_key`."""
    fresh = {
        "run_at": _now,
        "max_attempts": job.attempt + job.spec.max_attempts,
        "crashes": 0,
        "errors": 0,
        "error_code": None,
        "error_message": None,
        "cancel_reason": None,
        "finished_at": None,
    }
    return await _move(conn, job.job_id, Action.RETRY, attempt=job.attempt, values=fresh)


async def expired_jobs(conn: AsyncConnection, *, limit: int, grace: timedelta) -> list[Job]:
    """Lock held jobs whose lease has expired; none while the database has been up for less than `grace`.

    After a restart of the database the workers get the time to renew before anybody is judged.
    """
    given = {"limit": limit, "grace": grace}
    return [_job(row) for row in (await conn.execute(statements.LOCK_EXPIRED_JOBS, given)).mappings()]


async def promote_due(conn: AsyncConnection, *, limit: int) -> list[Job]:
    """Make scheduled jobs pending whose time has come."""
    return [_job(row) for row in (await conn.execute(statements.PROMOTE_JOBS, {"limit": limit})).mappings()]


async def kinds_due_since(conn: AsyncConnection, age: timedelta) -> list[str]:
    """List the kinds of which a job has become claimable within the last `age`."""
    return list((await conn.execute(statements.KINDS_DUE, {"age": age})).scalars())


async def next_sequences(conn: AsyncConnection, counts: Mapping[UUID, int]) -> dict[UUID, int]:
    """Advance the owners' sequences by so many events; gives the first new sequence of each owner.

    The rows stay locked until the transaction ends: that makes a sequence gap-free and its order that of the commits.
    Owners are locked in one order, so that transactions with several of them cannot deadlock.
    """
    ordered = sorted(counts)
    given = {"owner_ids": ordered, "counts": [counts[owner_id] for owner_id in ordered]}
    rows = await conn.execute(statements.NEXT_SEQUENCES, given)
    return {row.owner_id: row.last_sequence - counts[row.owner_id] + 1 for row in rows}


async def insert_events(conn: AsyncConnection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Append events to their owners' logs, each with its message in the outbox; `rows` have the columns of both."""
    await postgres.execute_each(conn, statements.INSERT_EVENT, rows)


async def _move(
    conn: AsyncConnection, job_id: UUID, action: Action, *, attempt: int, values: Mapping[str, Any]
) -> Job | None:
    sources, target = domain.TRANSITIONS[action]
    statement = (
        sa.update(jobs)
        .where(jobs.c.job_id == job_id, jobs.c.attempt == attempt, jobs.c.state.in_(sources))
        .values(state=target, version=jobs.c.version + 1, **values)
        .returning(jobs)
    )
    return _job_or_none((await conn.execute(statement)).mappings().first())


def _job_or_none(row: sa.RowMapping | None) -> Job | None:
    return _job(row) if row else None


def _job(row: sa.RowMapping) -> Job:
    spec = domain.Spec(
        kind=row["kind"],
        owner_id=row["owner_id"],
        payload=row["payload"],
        priority=row["priority"],
        run_at=row["scheduled_at"],
        max_attempts=row["budget"],
        backoff=row["backoff"],
        max_backoff=row["max_backoff"],
        attempt_timeout=row["attempt_timeout"],
        unique_key=row["unique_key"],
    )
    return Job(
        job_id=row["job_id"],
        spec=spec,
        state=State(row["state"]),
        attempt=row["attempt"],
        max_attempts=row["max_attempts"],
        crashes=row["crashes"],
        errors=row["errors"],
        progress=domain.Progress(
            done=row["progress_done"], total=row["progress_total"], message=row["progress_message"]
        ),
        version=row["version"],
        created_at=row["created_at"],
        worker=row["worker"],
        result=row["result"],
        error=domain.JobError(code=row["error_code"], message=row["error_message"]) if row["error_code"] else None,
        cancel_reason=row["cancel_reason"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
    )
