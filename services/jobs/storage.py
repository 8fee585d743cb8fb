"""Jobs in the database: one function a statement. Every change of a state is an update guarded by the states it may come from."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.jobs import domain, mapping, statements
from services.jobs.domain import Action, Job, State
from services.jobs.schema import attempts, job_events, jobs

Attempts = Sequence[tuple[UUID, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingWork:
    """What there is to do for the reconciler."""

    expired: bool
    """A lease has expired."""
    due: bool
    """The time of a scheduled job, or of a next attempt, has come."""
    overdue: bool
    """The deadline of a waiting job has passed."""
    waiting: bool
    """A job can be claimed, so turns may have to be brought on."""
    seconds_to_next: float | None
    """Seconds until the next lease expires, or the next time of the others comes; None if none will."""


_now = sa.func.now()


SequenceByJob = dict[UUID, int]
"""By job, the place of its event in its owner's sequence."""
NextByOwner = dict[UUID, int]
"""By owner, the next free place in its sequence; the owner is locked."""


async def insert_jobs(
    conn: AsyncConnection, wanted: Sequence[tuple[UUID, domain.Spec]], sequence_of: SequenceByJob | None
) -> dict[UUID, Job]:
    """Insert jobs; gives those that met neither one with their id nor a living one with their unique key.

    With `sequence_of` their events are numbered at once, here as below, which locks their owners: nothing else may be locked
    after it.
    """
    given = {"rows": mapping.specs(wanted)}
    if sequence_of is None:
        return _by_id(await _jobs(conn, statements.INSERT_JOBS, given))
    return _by_id(await _numbered(conn, statements.INSERT_JOBS_NUMBERED, given, sequence_of))


async def get_job(conn: AsyncConnection, job_id: UUID) -> Job | None:
    """Read a job."""
    return (await get_jobs(conn, [job_id])).get(job_id)


async def get_jobs(conn: AsyncConnection, job_ids: Collection[UUID]) -> dict[UUID, Job]:
    """Read jobs."""
    if not job_ids:
        return {}
    return _by_id(await _jobs(conn, statements.GET_JOBS, {"job_ids": list(job_ids)}))


async def lock_job(conn: AsyncConnection, job_id: UUID) -> Job | None:
    """Read a job that nobody else changes before the transaction ends."""
    return (await lock_jobs(conn, {job_id})).get(job_id)


async def lock_jobs(conn: AsyncConnection, job_ids: Collection[UUID]) -> dict[UUID, Job]:
    """Read jobs that nobody else changes before the transaction ends."""
    if not job_ids:
        return {}
    return _by_id(await _jobs(conn, statements.LOCK_JOBS, {"job_ids": list(job_ids)}))


async def holders(conn: AsyncConnection, unique_keys: Collection[str]) -> dict[str, UUID]:
    """Read which living jobs hold these unique keys."""
    if not unique_keys:
        return {}
    found = await conn.execute(statements.HOLDERS, {"unique_keys": list(unique_keys)})
    return {row.unique_key: row.job_id for row in found}


async def add_children(conn: AsyncConnection, added: Mapping[UUID, int]) -> None:
    """Count new children of locked parents."""
    given = {"parent_ids": list(added), "added": list(added.values())}
    await conn.execute(statements.ADD_CHILDREN, given)


async def count_children(
    conn: AsyncConnection, ended: Mapping[UUID, int], unsuccessful: Mapping[UUID, int]
) -> list[Job]:
    """Count children that have ended; gives their parents, unless those have ended too."""
    await lock_jobs(conn, ended.keys())
    given = {
        "parent_ids": list(ended),
        "ended": list(ended.values()),
        "unsuccessful": [unsuccessful.get(parent_id, 0) for parent_id in ended],
    }
    return await _jobs(conn, statements.COUNT_CHILDREN, given)


async def list_jobs(
    conn: AsyncConnection,
    *,
    owner_id: UUID | None,
    states: Collection[State],
    kinds: Collection[str],
    parent_id: UUID | None,
    before: UUID | None,
    limit: int,
) -> list[Job]:
    """Read jobs, newest first by the time in their ids, that come after the position `before`."""
    statement = sa.select(jobs).order_by(jobs.c.job_id.desc()).limit(limit)
    if owner_id:
        statement = statement.where(jobs.c.owner_id == owner_id)
    if parent_id:
        statement = statement.where(jobs.c.parent_id == parent_id)
    if states:
        statement = statement.where(jobs.c.state.in_(states))
    if kinds:
        statement = statement.where(jobs.c.kind.in_(kinds))
    if before:
        statement = statement.where(jobs.c.job_id < before)
    return await _jobs(conn, statement, {})


async def list_attempts(conn: AsyncConnection, job_id: UUID) -> Sequence[Mapping[str, Any]]:
    """Read the attempts of a job, oldest first."""
    statement = sa.select(attempts).where(attempts.c.job_id == job_id).order_by(attempts.c.attempt)
    return [dict(row) for row in (await conn.execute(statement)).mappings()]


async def list_transitions(conn: AsyncConnection, job_id: UUID) -> Sequence[Mapping[str, Any]]:
    """Read the transitions of a job, oldest first."""
    columns = [column for column in job_events.c if column is not job_events.c.event]
    statement = sa.select(*columns).where(job_events.c.job_id == job_id).order_by(job_events.c.sequence)
    return [dict(row) for row in (await conn.execute(statement)).mappings()]


async def lock_limits(conn: AsyncConnection, kinds: Collection[str]) -> Sequence[Mapping[str, Any]]:
    """Lock the limits of kinds that have some, and those of all kinds together; gives what they allow now."""
    return [dict(row) for row in (await conn.execute(statements.LOCK_LIMITED, {"kinds": list(kinds)})).mappings()]


async def count_held(conn: AsyncConnection) -> dict[str, int]:
    """Count the jobs that workers hold, by kind."""
    return {row[0]: row[1] for row in await conn.execute(statements.COUNT_HELD)}


async def set_tokens(conn: AsyncConnection, tokens: Mapping[str, float]) -> None:
    """Keep how many jobs of locked kinds may begin under their rate limits."""
    given = {"kinds": list(tokens), "tokens": [max(0.0, left) for left in tokens.values()]}
    await conn.execute(statements.SET_TOKENS, given)


async def claim_jobs(
    conn: AsyncConnection,
    *,
    worker: str,
    quotas: Mapping[str, int],
    is_locked: bool,
    limit: int,
    lease: timedelta,
    event_counts: Mapping[UUID, int],
) -> tuple[list[Job], NextByOwner]:
    """Give ready jobs to a worker, each under a new attempt, the most urgent first; of each kind at most its quota.

    Also advances the sequences of their owners, and those of `told` (owner: how many events before these).
    """
    owner_ids = list(event_counts)
    given = {
        "kinds": list(quotas),
        "quotas": list(quotas.values()),
        "is_locked": is_locked,
        "limit": limit,
        "worker": worker,
        "lease": lease,
        "owner_ids": owner_ids,
        "counts": [event_counts[owner_id] for owner_id in owner_ids],
    }
    claimed, sequences = [], {}
    for row in await conn.execute(statements.CLAIM_JOBS, given):
        *columns, owner_id, sequence = row
        sequences[owner_id] = sequence
        if columns[0] is not None:
            claimed.append(mapping.job(columns))
    return sorted(claimed, key=lambda job: (-job.spec.priority, job.job_id)), sequences


async def admit_waiting(conn: AsyncConnection, keys: Collection[tuple[str, str]]) -> list[str]:
    """Make jobs ready that wait for a place under their (kind, concurrency key), as many as there are; gives the kind of each."""
    # The lock comes by a statement of its own, so that the next one sees what its last holder has committed. A key is locked
    # after the rows, so rows that others hold are left out: their holders come here after their change.
    ordered = sorted(keys)
    await conn.execute(statements.LOCK_KEYS, {"keys": [f"{kind} {key}" for kind, key in ordered]})
    given = {"kinds": [kind for kind, _ in ordered], "keys": [key for _, key in ordered]}
    return list((await conn.execute(statements.ADMIT_WAITING, given)).scalars())


async def keys_with_free_slots(conn: AsyncConnection, *, limit: int) -> set[tuple[str, str]]:
    """Find concurrency keys with a free place for which somebody waits."""
    return {(row[0], row[1]) for row in await conn.execute(statements.KEYS_WITH_FREE_SLOTS, {"limit": limit})}


async def renew_leases(
    conn: AsyncConnection, *, worker: str, held: Attempts, lease: timedelta
) -> list[tuple[UUID, int, State]]:
    """Renew the leases a worker still holds, expired ones too unless somebody has judged them; gives those."""
    given = {
        "worker": worker,
        "job_ids": [job_id for job_id, _ in held],
        "attempts": [attempt for _, attempt in held],
        "lease": lease,
    }
    return [(row[0], row[1], State(row[2])) for row in await conn.execute(statements.RENEW_LEASES, given)]


async def set_progress(conn: AsyncConnection, job_id: UUID, attempt: int, progress: domain.Progress) -> Job | None:
    """Store how far the attempt has come, never less than before; None if the attempt is not the one that runs."""
    given = {
        "job_id": job_id,
        "attempt": attempt,
        "done": progress.done,
        "total": progress.total,
        "message": progress.message,
    }
    return next(iter(await _jobs(conn, statements.SET_PROGRESS, given)), None)


async def end_attempts(
    conn: AsyncConnection,
    decided: Sequence[tuple[Job, domain.Outcome, domain.Decision]],
    sequence_of: SequenceByJob | None = None,
) -> dict[UUID, Job]:
    """Apply what was decided about held jobs; gives those whose attempt still held them."""
    given = {"rows": mapping.ends(decided)}
    if sequence_of is None:
        return _by_id(await _jobs(conn, statements.END_ATTEMPTS, given))
    return _by_id(await _numbered(conn, statements.END_ATTEMPTS_NUMBERED, given, sequence_of))


async def complete_attempts(
    conn: AsyncConnection, outcomes: Mapping[tuple[UUID, int], domain.Completed], sequence_of: SequenceByJob
) -> dict[UUID, Job]:
    """Complete jobs whose attempt holds them and for which neither a parent nor somebody with the same key waits; gives those."""
    given = {"rows": mapping.completions(outcomes)}
    return _by_id(await _numbered(conn, statements.COMPLETE_ATTEMPTS, given, sequence_of))


async def attempt_outcome(conn: AsyncConnection, job_id: UUID, attempt: int) -> str | None:
    """Read how an attempt ended; None while it runs, or if there is no such attempt."""
    statement = sa.select(attempts.c.outcome).where(attempts.c.job_id == job_id, attempts.c.attempt == attempt)
    outcome: str | None = (await conn.execute(statement)).scalar()
    return outcome


async def cancel_waiting(conn: AsyncConnection, job: Job, reason: str) -> Job | None:
    """Cancel a job that no worker holds; None if its state has changed."""
    ended = {"cancel_reason": reason, "finished_at": _now, "ready": False, "awaits_children": False}
    return await _move(conn, job, Action.CANCEL, ended)


async def request_cancel(conn: AsyncConnection, job: Job, reason: str) -> Job | None:
    """Ask the worker of a running job to stop; None if its state has changed."""
    return await _move(conn, job, Action.REQUEST_CANCEL, {"cancel_reason": reason})


async def reopen(conn: AsyncConnection, job: Job) -> Job | None:
    """Make an ended job pending with a fresh budget; None if its state has changed. Raises IntegrityError `jobs_unique_key`."""
    child = jobs.alias("child")
    children = sa.select(sa.func.count()).select_from(child).where(child.c.parent_id == job.job_id)
    ended = children.where(child.c.finished_at.is_not(None))
    fresh = {
        "run_at": _now,
        "ready": job.spec.concurrency_key is None,
        "deadline": _now + jobs.c.total_timeout,
        "max_attempts": job.attempt + job.spec.max_attempts,
        "crashes": 0,
        "errors": 0,
        "error_code": None,
        "error_message": None,
        "cancel_reason": None,
        "finished_at": None,
        "read_at": None,
        "children_total": children.scalar_subquery(),
        "children_ended": ended.scalar_subquery(),
        "children_unsuccessful": ended.where(child.c.state != State.COMPLETED).scalar_subquery(),
    }
    return await _move(conn, job, Action.RETRY, fresh)


async def find_work(conn: AsyncConnection) -> PendingWork:
    """Look what there is to do for the reconciler."""
    return PendingWork(**(await conn.execute(statements.FIND_WORK)).mappings().one())


async def expired_jobs(conn: AsyncConnection, *, limit: int, grace: timedelta) -> list[Job]:
    """Lock held jobs whose lease has expired; none while the database has been up for less than `grace`.

    After a restart of the database the workers get the time to renew before anybody is judged.
    """
    return await _jobs(conn, statements.LOCK_EXPIRED_JOBS, {"limit": limit, "grace": grace})


async def promote_due(conn: AsyncConnection, *, limit: int) -> list[Job]:
    """Make scheduled jobs pending whose time has come."""
    return await _jobs(conn, statements.PROMOTE_JOBS, {"limit": limit})


async def ready_retries(conn: AsyncConnection, *, limit: int) -> list[str]:
    """Make jobs ready for their next attempt whose pause is over; gives the kind of each."""
    return list((await conn.execute(statements.READY_RETRIES, {"limit": limit})).scalars())


async def fail_overdue(conn: AsyncConnection, *, limit: int) -> list[Job]:
    """Fail waiting jobs whose deadline has passed."""
    error = domain.DEADLINE_EXCEEDED
    given = {"limit": limit, "code": error.code, "message": error.message}
    return await _jobs(conn, statements.EXPIRE_JOBS, given)


async def lock_orphans(conn: AsyncConnection, *, limit: int, parent_id: UUID | None = None) -> list[Job]:
    """Lock living children, of one parent or of any, that has failed or was, or is being, cancelled."""
    return await _jobs(
        conn, statements.orphans(of_parent=parent_id is not None), {"limit": limit, "parent_id": parent_id}
    )


async def ready_kinds(conn: AsyncConnection) -> list[str]:
    """List the kinds of which a job can be claimed."""
    return list((await conn.execute(statements.READY_KINDS)).scalars())


async def advance_fair_ranks(conn: AsyncConnection) -> None:
    """Bring each kind's present turn to that of the job that is next."""
    await conn.execute(statements.ADVANCE_FAIR_RANKS)


async def _move(conn: AsyncConnection, job: Job, action: Action, values: Mapping[str, Any]) -> Job | None:
    sources, target = domain.TRANSITIONS[action]
    statement = (
        sa.update(jobs)
        .where(jobs.c.job_id == job.job_id, jobs.c.attempt == job.attempt, jobs.c.state.in_(sources))
        .values(state=target, version=jobs.c.version + 1, **values)
        .returning(jobs)
    )
    return next(iter(await _jobs(conn, statement, {})), None)


async def _jobs(conn: AsyncConnection, statement: sa.Executable, given: Mapping[str, Any]) -> list[Job]:
    return [mapping.job(row) for row in await conn.execute(statement, given)]


async def _numbered(
    conn: AsyncConnection, statement: sa.Executable, given: Mapping[str, Any], sequence_of: SequenceByJob
) -> list[Job]:
    found = []
    for row in await conn.execute(statement, given):
        *columns, sequence = row
        job = mapping.job(columns)
        sequence_of[job.job_id] = sequence
        found.append(job)
    return found


def _by_id(found: Sequence[Job]) -> dict[UUID, Job]:
    return {job.job_id: job for job in found}
