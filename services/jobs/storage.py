"""Jobs in the database: one function per statement. Every change of a state is an update guarded by its source states."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.prepared import Prepared
from services.jobs import domain, mapping, outcomes, sql, statements
from services.jobs.domain import Action, Job, State
from services.jobs.schema import attempts, deleted_jobs, jobs

Attempts = Sequence[tuple[UUID, int]]

_now = sa.func.now()
LIGHT = [
    sa.case((jobs.c.payload_bytes <= domain.SMALL_PAYLOAD_BYTES, jobs.c.payload)).label("payload")
    if column is jobs.c.payload
    else column
    for column in jobs.c
]
"""The columns without a large payload."""


MAX_ADMITTED_OF_KEY = 1_000
MAX_ADMITTED = 5_000
"""Jobs that one statement admits to slots. A limit may be raised by a million while a hundred thousand jobs wait."""

SequenceByJob = dict[UUID, int]
"""The sequence of a job's event in the log of its owner."""
NextByOwner = dict[UUID, int]
"""The next sequence of an owner, whose row is locked."""


async def insert_jobs(
    conn: AsyncConnection, submits: Sequence[tuple[UUID, domain.Spec]], sequence_of: SequenceByJob | None
) -> dict[UUID, Job]:
    """Insert jobs; return those that conflict with no stored or deleted id and no unique key of an unfinished job.

    With `sequence_of`, here and below, the statement also numbers their events. That locks their owners: no lock may follow.
    """
    parameters = {"rows": mapping.specs(submits)}
    if sequence_of is None:
        return _by_id(await execute(conn, statements.INSERT_JOBS, parameters))
    return _by_id(await _numbered(conn, statements.INSERT_JOBS_NUMBERED, parameters, sequence_of))


async def start_job(
    conn: AsyncConnection, job_id: UUID, spec: domain.Spec, *, worker: str, kinds: Collection[str], lease: timedelta
) -> tuple[Job, int] | None:
    """Store a job without keys and parent under its first attempt, for a worker that waits for jobs of these kinds.

    Return it with the first of the two sequences of its owner, who is locked from here on. Return None if a claim must decide,
    because another job of these kinds is ready or one is limited, and for an id that is taken.
    """
    parameters = {"rows": mapping.specs([(job_id, spec)]), "worker": worker, "kinds": list(kinds), "lease": lease}
    for row in await statements.START_JOB.execute(conn, parameters):
        *columns, sequence = row
        return mapping.job(columns), sequence
    return None


async def deleted(conn: AsyncConnection, job_ids: Collection[UUID]) -> set[UUID]:
    """Return those of the ids whose jobs were deleted within `domain.DELETED_ID_LIFETIME` of their creation."""
    if not job_ids:
        return set()
    statement = sa.select(deleted_jobs.c.job_id).where(deleted_jobs.c.job_id.in_(job_ids))
    return set((await conn.execute(statement)).scalars())


async def get_job(conn: AsyncConnection, job_id: UUID) -> Job | None:
    return (await get_jobs(conn, [job_id])).get(job_id)


async def get_jobs(conn: AsyncConnection, job_ids: Collection[UUID]) -> dict[UUID, Job]:
    if not job_ids:
        return {}
    return _by_id(await execute(conn, statements.GET_JOBS, {"job_ids": list(job_ids)}))


async def get_light_jobs(conn: AsyncConnection, job_ids: Collection[UUID]) -> dict[UUID, Job]:
    """Return jobs without large payloads."""
    return _by_id(await built_jobs(conn, sa.select(*LIGHT).where(jobs.c.job_id.in_(job_ids))))


async def owners_of(conn: AsyncConnection, job_ids: Collection[UUID]) -> dict[UUID, UUID]:
    statement = sa.select(jobs.c.job_id, jobs.c.owner_id).where(jobs.c.job_id.in_(job_ids))
    return {row.job_id: row.owner_id for row in await conn.execute(statement)}


async def lock_job(conn: AsyncConnection, job_id: UUID) -> Job | None:
    """Lock a job until the transaction ends, and return it."""
    return (await lock_jobs(conn, {job_id})).get(job_id)


async def lock_jobs(conn: AsyncConnection, job_ids: Collection[UUID]) -> dict[UUID, Job]:
    """Lock jobs until the transaction ends, and return them by id."""
    if not job_ids:
        return {}
    return _by_id(await execute(conn, statements.LOCK_JOBS, {"job_ids": list(job_ids)}))


async def holders(conn: AsyncConnection, unique_keys: Collection[str]) -> dict[str, UUID]:
    """Return the unfinished jobs that hold these unique keys."""
    if not unique_keys:
        return {}
    rows = await statements.HOLDERS.execute(conn, {"unique_keys": list(unique_keys)})
    return {row[0]: row[1] for row in rows}


async def add_children(conn: AsyncConnection, added: Mapping[UUID, int]) -> None:
    """Add new children to the counts of locked parents."""
    parameters = {"parent_ids": list(added), "added": list(added.values())}
    await statements.ADD_CHILDREN.execute(conn, parameters)


async def count_children(
    conn: AsyncConnection, ended: Mapping[UUID, int], unsuccessful: Mapping[UUID, int]
) -> list[Job]:
    """Count finished children in their parents; return the unfinished parents."""
    await lock_jobs(conn, ended.keys())
    parameters = {
        "parent_ids": list(ended),
        "ended": list(ended.values()),
        "unsuccessful": [unsuccessful.get(parent_id, 0) for parent_id in ended],
    }
    return await execute(conn, statements.COUNT_CHILDREN, parameters)


async def lock_limits(conn: AsyncConnection, kinds: Collection[str]) -> Sequence[Mapping[str, Any]]:
    """Lock the limits of these kinds and of all kinds together; return what they allow now."""
    names = ("kind", "max_running", "is_paused", "tokens")
    rows = await statements.LOCK_LIMITED.execute(conn, {"kinds": list(kinds)})
    return [dict(zip(names, row, strict=True)) for row in rows]


async def count_held(conn: AsyncConnection) -> dict[str, int]:
    """Return the number of held jobs by kind."""
    return {row[0]: row[1] for row in await statements.COUNT_HELD.execute(conn, {})}


async def set_tokens(conn: AsyncConnection, tokens: Mapping[str, float]) -> None:
    """Store how many jobs of locked kinds may start under their rate limits."""
    parameters = {"kinds": list(tokens), "tokens": [max(0.0, available) for available in tokens.values()]}
    await statements.SET_TOKENS.execute(conn, parameters)


async def claim_jobs(
    conn: AsyncConnection,
    *,
    worker: str,
    quotas: Mapping[str, int],
    is_locked: bool,
    limit: int,
    lease: timedelta,
    event_counts: Mapping[UUID, int],
    excluded: Collection[UUID] = (),
) -> tuple[list[Job], NextByOwner]:
    """Claim ready jobs for a worker, each under a new attempt, the most urgent first, at most the quota of each kind.

    Jobs in `excluded` are left out. A claim ends when its payloads have about `domain.CLAIM_BYTES`. It also
    advances the sequences of the jobs' owners, and of those in `event_counts`, by the number of earlier events.
    """
    owner_ids = list(event_counts)
    parameters = {
        "kinds": list(quotas),
        "quotas": list(quotas.values()),
        "is_locked": is_locked,
        "limit": limit,
        "max_bytes": domain.CLAIM_BYTES,
        "excluded": list(excluded),
        "worker": worker,
        "lease": lease,
        "owner_ids": owner_ids,
        "counts": [event_counts[owner_id] for owner_id in owner_ids],
    }
    claimed, sequences = [], {}
    for row in await statements.CLAIM_JOBS.execute(conn, parameters):
        *columns, owner_id, sequence = row
        sequences[owner_id] = sequence
        if columns[0] is not None:
            claimed.append(mapping.job(columns))
    return sorted(claimed, key=lambda job: (-job.spec.priority, job.job_id)), sequences


async def admit_waiting(conn: AsyncConnection, keys: Collection[tuple[str, str]]) -> list[str]:
    """Admit waiting jobs to the free slots of (kind, concurrency key) pairs; return the kind of each admitted job.

    At most `MAX_ADMITTED_OF_KEY` jobs of a key and `MAX_ADMITTED` of all; the reconciler admits more.
    """
    # The lock is a separate statement: the next one sees what the previous holder has committed. Keys are locked after rows, so
    # the statement skips locked rows: the transactions that hold them admit jobs after their own change.
    ordered = sorted(keys)
    await statements.LOCK_KEYS.execute(conn, {"keys": [f"{kind} {key}" for kind, key in ordered]})
    parameters = {
        "kinds": [kind for kind, _ in ordered],
        "keys": [key for _, key in ordered],
        "max_of_key": MAX_ADMITTED_OF_KEY,
        "max_jobs": MAX_ADMITTED,
    }
    return [kind for (kind,) in await statements.ADMIT_WAITING.execute(conn, parameters)]


async def keys_with_free_slots(conn: AsyncConnection, *, limit: int) -> set[tuple[str, str]]:
    """Return concurrency keys with a free slot and a waiting job."""
    return {(row[0], row[1]) for row in await statements.KEYS_WITH_FREE_SLOTS.execute(conn, {"limit": limit})}


async def renew_leases(
    conn: AsyncConnection, *, worker: str, held: Attempts, lease: timedelta, kind_prefix: str
) -> list[tuple[UUID, int, State]]:
    """Renew the leases that a worker still holds, also expired ones that were not rescued; return (job, attempt, state).

    Jobs whose rows are locked are left out.
    """
    parameters = {**_leases(worker, held), "lease": lease, "kind_prefix": kind_prefix}
    return [(row[0], row[1], State(row[2])) for row in await statements.RENEW_LEASES.execute(conn, parameters)]


async def read_leases(
    conn: AsyncConnection, *, worker: str, held: Attempts, kind_prefix: str
) -> list[tuple[UUID, int, State]]:
    """Return the leases that a worker still holds: (job, attempt, state)."""
    rows = await statements.READ_LEASES.execute(conn, {**_leases(worker, held), "kind_prefix": kind_prefix})
    return [(row[0], row[1], State(row[2])) for row in rows]


def _leases(worker: str, held: Attempts) -> dict[str, Any]:
    return {
        "worker": worker,
        "job_ids": [job_id for job_id, _ in held],
        "attempts": [attempt for _, attempt in held],
    }


async def set_progress(
    conn: AsyncConnection, job_id: UUID, attempt: int, progress: domain.Progress, *, kind_prefix: str = ""
) -> Job | None:
    """Store the progress of an attempt; it never decreases. None if the attempt holds no lease."""
    parameters = {
        "job_id": job_id,
        "attempt": attempt,
        "done": progress.done,
        "total": progress.total,
        "message": progress.message,
        "kind_prefix": kind_prefix,
    }
    return next(iter(await execute(conn, statements.SET_PROGRESS, parameters)), None)


async def end_attempts(
    conn: AsyncConnection,
    decisions: Sequence[tuple[Job, outcomes.Outcome, outcomes.Decision]],
    sequence_of: SequenceByJob | None = None,
) -> dict[UUID, Job]:
    """Apply decisions to held jobs; return the jobs whose attempt still held the lease."""
    parameters = {"rows": mapping.ends_to_json(decisions)}
    if sequence_of is None:
        return _by_id(await execute(conn, statements.END_ATTEMPTS, parameters))
    return _by_id(await _numbered(conn, statements.END_ATTEMPTS_NUMBERED, parameters, sequence_of))


async def complete_attempts(
    conn: AsyncConnection, completions: Mapping[tuple[UUID, int], outcomes.Completed], sequence_of: SequenceByJob
) -> dict[UUID, Job]:
    """Complete and return held jobs without parent and concurrency key."""
    parameters = {"rows": mapping.completions(completions)}
    return _by_id(await _numbered(conn, statements.COMPLETE_ATTEMPTS, parameters, sequence_of))


async def attempt_outcome(conn: AsyncConnection, job_id: UUID, attempt: int) -> str | None:
    """Return the outcome of an attempt; None while it runs, and for an unknown attempt."""
    statement = sa.select(attempts.c.outcome).where(attempts.c.job_id == job_id, attempts.c.attempt == attempt)
    outcome: str | None = (await conn.execute(statement)).scalar()
    return outcome


async def cancel_waiting(conn: AsyncConnection, job: Job, reason: str) -> Job | None:
    """Cancel a job that no worker holds. None if its state has changed."""
    values = {"cancel_reason": reason, "finished_at": _now, "ready": False, "awaits_children": False}
    return await _move(conn, job, Action.CANCEL, values)


async def request_cancel(conn: AsyncConnection, job: Job, reason: str) -> Job | None:
    """Ask the worker of a running job to stop. None if its state has changed."""
    return await _move(conn, job, Action.REQUEST_CANCEL, {"cancel_reason": reason})


async def hold(conn: AsyncConnection, job: Job) -> Job | None:
    """Put a job that no worker holds on hold. None if its state has changed."""
    return await _move(conn, job, Action.HOLD, {"run_at": domain.ON_HOLD, "hold_run_at": jobs.c.run_at, "ready": False})


async def release(conn: AsyncConnection, job: Job) -> Job | None:
    """Let a job on hold run at its former time, or now if that has passed. None if its state has changed."""
    # Not before now: the job has not been ready since, and would count as the oldest that waits.
    values = {"run_at": sa.func.greatest(jobs.c.hold_run_at, _now), "hold_run_at": None}
    return await _move(conn, job, Action.RELEASE, values)


async def lock_unsuccessful_children(conn: AsyncConnection, parent_id: UUID, *, limit: int) -> list[Job]:
    """Lock and return failed and cancelled children of a locked parent; without those that are locked."""
    states = domain.TRANSITIONS[Action.RETRY][0]
    statement = sa.select(jobs).where(jobs.c.parent_id == parent_id, jobs.c.state.in_(states))
    ordered = statement.order_by(jobs.c.job_id).limit(limit)
    # The row locks of parents come after those of children: a wait here could deadlock.
    return await built_jobs(conn, ordered.with_for_update(skip_locked=True, key_share=True))


async def reopen(conn: AsyncConnection, job: Job) -> Job | None:
    """Make a finished job pending with a new budget. None if its state has changed; IntegrityError `jobs_unique_key`."""
    child = jobs.alias("child")
    children = sa.select(sa.func.count()).select_from(child).where(child.c.parent_id == job.job_id)
    ended = children.where(child.c.finished_at.is_not(None))
    values = {
        "run_at": _now,
        "hold_run_at": None,
        "ready": job.spec.concurrency_key is None,
        "fair_rank": sa.text(statements.NEXT_FAIR_RANK).bindparams(
            ranked_kind=job.spec.kind, ranked_owner=job.spec.owner_id
        ),
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
    return await _move(conn, job, Action.RETRY, values)


async def forgive_crashes(conn: AsyncConnection, *, lost: Attempts, worker: str | None = None) -> None:
    """Take back the crashes of attempts (of `worker`, if it is known) whose worker turns out to be alive.

    Of each job `FORGIVEN_CRASHES` at most.
    """
    parameters = {**_leases(worker or "", lost), "limit": outcomes.FORGIVEN_CRASHES}
    await statements.FORGIVE_CRASHES.execute(conn, parameters)


async def lock_orphans(
    conn: AsyncConnection, *, limit: int, parent_id: UUID | None = None, selection: sql.Selection = sql.ALL_JOBS
) -> list[Job]:
    """Lock and return unfinished children of one parent, or of any, that is failed, cancelled or cancelling."""
    parameters = {"limit": limit, "parent_id": parent_id, **selection.parameters}
    return await execute(conn, statements.orphans(of_parent=parent_id is not None), parameters)


async def _move(conn: AsyncConnection, job: Job, action: Action, values: Mapping[str, Any]) -> Job | None:
    sources, target = domain.TRANSITIONS[action]
    statement = (
        sa.update(jobs)
        .where(jobs.c.job_id == job.job_id, jobs.c.attempt == job.attempt, jobs.c.state.in_(sources))
        .values(state=target, version=jobs.c.version + 1, **values)
        .returning(*LIGHT)
    )
    return next(iter(await built_jobs(conn, statement)), None)


async def execute(conn: AsyncConnection, statement: Prepared, parameters: Mapping[str, Any]) -> list[Job]:
    """Execute a statement that returns the columns of `schema.jobs`; return the jobs."""
    return [mapping.job(row) for row in await statement.execute(conn, parameters)]


async def built_jobs(conn: AsyncConnection, statement: sa.Executable) -> list[Job]:
    """Execute a statement that was built for this call."""
    return [mapping.job(row) for row in await conn.execute(statement)]


async def _numbered(
    conn: AsyncConnection, statement: Prepared, parameters: Mapping[str, Any], sequence_of: SequenceByJob
) -> list[Job]:
    numbered = []
    for row in await statement.execute(conn, parameters):
        *columns, sequence = row
        job = mapping.job(columns)
        sequence_of[job.job_id] = sequence
        numbered.append(job)
    return numbered


def _by_id(rows: Sequence[Job]) -> dict[UUID, Job]:
    return {job.job_id: job for job in rows}
