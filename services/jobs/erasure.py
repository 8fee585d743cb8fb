"""Erasure of an owner: jobs, attempts, log lines, checkpoints, events, the row of the owner, and all mentions elsewhere."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError

from services.jobs import domain, list_storage, retention, storage
from services.jobs.batch_size import BatchSize
from services.jobs.operations import Operations
from services.jobs.operators import change_log
from services.jobs.transaction import Transaction

BATCH = 100
"""Unfinished jobs that one call cancels."""
DELETE_BATCH = 1_000
"""Finished jobs, and events, that one call deletes; changes by an admin that it forgets."""
FIRST_DELETED, MAX_DELETED = 5, 50
"""Jobs that the first statement deletes, and the most that one deletes."""
FIRST_SCANNED = 20
"""Jobs that the first statement searches for mentions; each may have megabytes of log lines and checkpoints."""
SCAN_BATCH = 2_000
"""Jobs of all owners that one call searches for mentions."""
CALL_SECONDS = 2.0
"""Time after which a call deletes no further jobs, and time after which it searches no further ones."""
REASON = "account_deleted"
_CANCELLABLE = frozenset(domain.State) - domain.FINISHED - {domain.State.CANCELLING}
_START = UUID(int=0)
_uuids = postgresql.ARRAY(sa.Uuid)

_FINISHED = sa.text("""
    SELECT job_id FROM jobs.jobs WHERE owner_id = :owner_id AND finished_at IS NOT NULL
    LIMIT :limit FOR UPDATE SKIP LOCKED
""").bindparams(sa.bindparam("owner_id", type_=sa.Uuid))
_HAS_JOBS = sa.text("SELECT EXISTS (SELECT FROM jobs.jobs WHERE owner_id = :owner_id)").bindparams(
    sa.bindparam("owner_id", type_=sa.Uuid)
)
_DELETE_EVENTS = sa.text("""
    DELETE FROM jobs.job_events WHERE owner_id = :owner_id AND sequence = ANY(ARRAY(
        SELECT sequence FROM jobs.job_events WHERE owner_id = :owner_id ORDER BY sequence LIMIT :limit))
""").bindparams(sa.bindparam("owner_id", type_=sa.Uuid))
_LOCK_OWNER = sa.text("SELECT FROM jobs.owners WHERE owner_id = :owner_id FOR UPDATE").bindparams(
    sa.bindparam("owner_id", type_=sa.Uuid)
)
_DELETE_OWNER = sa.text("DELETE FROM jobs.owners WHERE owner_id = :owner_id").bindparams(
    sa.bindparam("owner_id", type_=sa.Uuid)
)


def _mentions(row: str) -> str:
    # A whole row as text has its payload, result, keys and messages. Few rows contain the text: the pattern is slower.
    return f"strpos(lower({row}::text), t.sought) > 0 AND lower({row}::text) ~ t.pattern"


# The primary key bounds the work of a call.
_MENTIONING = sa.text(f"""
    WITH page AS (SELECT job_id FROM jobs.jobs WHERE job_id > :after ORDER BY job_id LIMIT :limit)
    SELECT j.job_id, j.finished_at IS NOT NULL AS is_finished,
        EXISTS (SELECT FROM unnest(CAST(:texts AS text[]), CAST(:patterns AS text[])) AS t (sought, pattern)
            WHERE {_mentions("j")}
            OR EXISTS (SELECT FROM jobs.attempts a WHERE a.job_id = j.job_id AND {_mentions("a")})
            OR EXISTS (SELECT FROM jobs.attempt_logs l WHERE l.job_id = j.job_id AND {_mentions("l")})
            OR EXISTS (SELECT FROM jobs.checkpoints c WHERE c.job_id = j.job_id AND {_mentions("c")})
        ) AS is_mentioning
    FROM jobs.jobs j JOIN page USING (job_id) ORDER BY j.job_id
""").bindparams(sa.bindparam("after", type_=sa.Uuid))  # noqa: S608 - our own text
_IS_UNSENT = sa.text("""
    SELECT EXISTS (SELECT FROM jobs.outbox WHERE strpos(encode(payload, 'escape'), :sought) > 0)
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """The result of one call."""

    deleted: int
    """Jobs and events, and changes that name nobody now: none means that this part waits for workers or the outbox."""
    is_complete: bool
    """Whether the owner, the searched part and the outbox hold nothing of the owner any more."""
    next_job_id: UUID | None
    """Where the search for mentions resumes; None at the end."""


async def erase_owner(jobs: Operations, owner_id: UUID, texts: Sequence[str], *, after: UUID | None = None) -> Erased:
    """Erase a bounded part of an owner, and of finished jobs that mention one of the `texts`. Idempotent.

    Unfinished jobs of the owner are cancelled and deleted by a later call, once their workers have stopped.
    """
    async with jobs.transaction() as tx:
        await _cancel(tx, owner_id)
    deleted_jobs = await _delete_finished(jobs, owner_id)
    async with jobs.transaction() as tx:
        conn = tx.conn
        # Transitions lock the row: the next statements see those before, and later ones begin a new sequence.
        await conn.execute(_LOCK_OWNER, {"owner_id": owner_id})
        has_jobs = bool(await conn.scalar(_HAS_JOBS, {"owner_id": owner_id}))
        deleted_events = 0
        if not has_jobs:
            parameters: dict[str, object] = {"owner_id": owner_id, "limit": DELETE_BATCH}
            deleted_events = (await conn.execute(_DELETE_EVENTS, parameters)).rowcount
            if deleted_events < DELETE_BATCH:
                await conn.execute(_DELETE_OWNER, {"owner_id": owner_id})
        logs = (change_log.KINDS, change_log.JOBS)
        forgotten = [await log.forget_actor(conn, owner_id, limit=DELETE_BATCH) for log in logs]
    searched = await _delete_mentions(jobs, owner_id, [text.lower() for text in texts], after or _START)
    async with jobs.transaction() as tx:
        is_unsent = bool(await tx.conn.scalar(_IS_UNSENT, {"sought": str(owner_id)}))
    deleted = deleted_jobs + deleted_events + sum(forgotten) + searched.deleted
    is_clean = not has_jobs and max(deleted_events, *forgotten) < DELETE_BATCH and not searched.has_unfinished
    return Erased(deleted=deleted, is_complete=is_clean and not is_unsent, next_job_id=searched.end)


@dataclass(frozen=True, slots=True, kw_only=True)
class _SearchedPart:
    """The part of all jobs that one call has searched for mentions."""

    deleted: int
    has_unfinished: bool
    """Whether a mentioning job stays because it has not ended."""
    end: UUID | None
    """The last job that was searched; None at the end of all jobs."""


async def _delete_mentions(jobs: Operations, owner_id: UUID, addresses: Sequence[str], after: UUID) -> _SearchedPart:
    """Search some jobs after an id for mentions, and delete the finished ones among those."""
    parameters: dict[str, object] = {
        "texts": [str(owner_id), *addresses],
        "patterns": [str(owner_id), *map(_whole, addresses)],
    }
    size = BatchSize(min(FIRST_SCANNED, SCAN_BATCH), most=SCAN_BATCH)
    searched, deleted, has_unfinished, ends_at = 0, 0, False, time.monotonic() + CALL_SECONDS
    while searched < SCAN_BATCH and (not searched or time.monotonic() < ends_at):
        begin, limit = time.monotonic(), min(size.limit, SCAN_BATCH - searched)
        try:
            async with jobs.transaction() as tx:
                page = (await tx.conn.execute(_MENTIONING, {**parameters, "after": after, "limit": limit})).all()
                finished = [row.job_id for row in page if row.is_mentioning and row.is_finished]
                count = await _delete(tx, finished)
        except DBAPIError as error:
            size.shrink_after(error)
            continue
        deleted += count
        has_unfinished |= count < sum(row.is_mentioning for row in page)
        if len(page) < limit:
            return _SearchedPart(deleted=deleted, has_unfinished=has_unfinished, end=None)
        searched, after = searched + limit, page[-1].job_id
        size.adapt(time.monotonic() - begin)
    return _SearchedPart(deleted=deleted, has_unfinished=has_unfinished, end=after)


def _whole(address: str) -> str:
    """Return the pattern of an address that is not a part of a longer one, which is another person's."""
    return rf"(?<![a-z0-9._%+-]){re.escape(address)}(?![a-z0-9-]|\.[a-z0-9])"


async def _cancel(tx: Transaction, owner_id: UUID) -> None:
    job_ids = await list_storage.list_job_ids(
        tx.conn, owner_id=owner_id, states=_CANCELLABLE, kinds=(), parent_id=None, position=None, limit=BATCH
    )
    for job in (await storage.lock_jobs(tx.conn, job_ids)).values():
        if job.state in _CANCELLABLE:
            await tx.cancel(job, REASON)


async def _delete_finished(jobs: Operations, owner_id: UUID) -> int:
    """Delete finished jobs of the owner; return the number."""
    size = BatchSize(FIRST_DELETED, most=MAX_DELETED)
    deleted, ends_at = 0, time.monotonic() + CALL_SECONDS
    while deleted < DELETE_BATCH and (not deleted or time.monotonic() < ends_at):
        begin, limit = time.monotonic(), size.limit
        try:
            async with jobs.transaction() as tx:
                rows = await tx.conn.execute(_FINISHED, {"owner_id": owner_id, "limit": limit})
                finished = list(rows.scalars())
                await _delete(tx, finished)
        except DBAPIError as error:
            size.shrink_after(error)
            continue
        deleted += len(finished)
        if len(finished) < limit:
            break
        size.adapt(time.monotonic() - begin)
    return deleted


async def _delete(tx: Transaction, job_ids: Sequence[UUID]) -> int:
    """Delete jobs as the retention does, except those that are retried meanwhile; return the number."""
    if not job_ids:
        return 0
    rows = await tx.conn.execute(retention.DELETE_JOBS, {"job_ids": list(job_ids), "until": domain.ON_HOLD})
    deleted = list(rows.scalars())
    await tx.conn.execute(retention.DELETE_EVENTS, {"job_ids": deleted})
    return len(deleted)
