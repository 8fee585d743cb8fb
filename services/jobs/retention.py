"""Deletes finished jobs after the retention of their kind, and unused workers, kinds and schedules.

The next call deletes what this one leaves: an interrupted attempt loses nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from chassis import ids, postgres
from services.jobs import domain, isolation, sql
from services.jobs.batch_size import BatchSize
from services.jobs.operators import change_log
from services.jobs.schedules import storage

logger = logging.getLogger(__name__)

BATCH = 1_000
FIRST_BATCH = 100
"""The first batch of a kind. The next ones are larger or smaller by its time."""
MAX_BATCHES = 3_000
MAX_SECONDS = 900.0
"""Bounds of one call. A call that is due while one runs is skipped."""
NOTES_BATCH = 100_000
MAX_NOTES_BATCHES = 30
"""Together as many notes of deleted jobs as a call deletes jobs."""
PAUSE_SECONDS = 0.05
"""The pause between batches, in favour of transactions on jobs."""
UNKNOWN_KIND = timedelta(days=7)
WORKER_UNSEEN = timedelta(days=1)
UNUSED_KIND_AGE = timedelta(days=1)
"""The age at which a kind without worker, limits and jobs is deleted."""
UNREGISTERED_SCHEDULE_AGE = timedelta(days=7)
"""A schedule that no worker has registered for this long was removed from the program."""

Report = Callable[[int], Awaitable[None]]
"""Receives the number of jobs deleted so far."""

Position = tuple[datetime, UUID]
"""Time and id of a finished job."""
_START: Position = (datetime.fromtimestamp(0, UTC), UUID(int=0))

# One probe of the index jobs_finished per kind, whatever the number of jobs. From the end: the entries of deleted jobs are at the
# beginning of each kind, and are walked over until a vacuum has removed them.
KINDS = sa.text("""
    WITH RECURSIVE walk AS (
        (SELECT kind FROM jobs.jobs WHERE finished_at IS NOT NULL ORDER BY kind DESC LIMIT 1)
        UNION ALL
        SELECT (
            SELECT j.kind FROM jobs.jobs j WHERE j.finished_at IS NOT NULL AND j.kind < walk.kind
            ORDER BY j.kind DESC LIMIT 1)
        FROM walk WHERE walk.kind IS NOT NULL
    )
    SELECT walk.kind, now() - coalesce(k.retention, :unknown) AS until
    FROM walk LEFT JOIN jobs.kinds k ON k.kind = walk.kind WHERE walk.kind IS NOT NULL
""").bindparams(sa.bindparam("unknown", type_=sa.Interval))

# The index returns jobs by time, and a batch begins where the previous one ended: jobs that must stay because of an unfinished
# parent or child are skipped once per call. No EXISTS: the planner may turn it into a scan of the table.
OLD = sa.text("""
    SELECT old.job_id, old.finished_at,
        coalesce((SELECT p.finished_at IS NOT NULL FROM jobs.jobs p WHERE p.job_id = old.parent_id), true)
        AND (old.children_total = 0 OR coalesce((
            SELECT false FROM jobs.jobs c WHERE c.parent_id = old.job_id AND c.finished_at IS NULL LIMIT 1), true)) AS is_free
    FROM (
        SELECT j.job_id, j.finished_at, j.parent_id, j.children_total FROM jobs.jobs j
        WHERE j.kind = :kind AND j.finished_at >= :after_time AND j.finished_at < :until
            AND (j.finished_at, j.job_id) > (:after_time, :after_id)
        ORDER BY j.finished_at, j.job_id LIMIT :limit
    ) old
    ORDER BY old.finished_at, old.job_id
""")

# Foreign keys delete attempts and checkpoints. A job that is being retried is locked, or no longer finished.
DELETE_JOBS = sa.text("""
    WITH deleted AS (
        DELETE FROM jobs.jobs WHERE job_id = ANY(ARRAY(
            SELECT job_id FROM jobs.jobs WHERE job_id = ANY(:job_ids) AND finished_at < :until FOR UPDATE SKIP LOCKED))
        RETURNING job_id
    ), noted AS (
        INSERT INTO jobs.deleted_jobs (job_id) SELECT job_id FROM deleted
        WHERE uuid_extract_timestamp(job_id) > now() - CAST(:known AS interval)
        ON CONFLICT DO NOTHING
    )
    SELECT job_id FROM deleted
""").bindparams(sa.bindparam("known", type_=sa.Interval, value=domain.DELETED_ID_LIFETIME))
DELETE_NOTES = sa.text("""
    DELETE FROM jobs.deleted_jobs WHERE job_id = ANY(ARRAY(
        SELECT job_id FROM jobs.deleted_jobs WHERE job_id < :oldest ORDER BY job_id LIMIT :limit))
""")
DELETE_EVENTS = sa.text("DELETE FROM jobs.job_events WHERE job_id = ANY(:job_ids)")

# Each check for jobs is a probe of an index. Scheduled jobs are not checked: the row of their kind holds no setting, and a submit
# or claim of the kind inserts it again.
DELETE_KINDS = sa.text(f"""
    DELETE FROM jobs.kinds k
    WHERE k.declared_at IS NULL AND NOT k.is_limited AND k.max_running_per_key = 1 AND k.kind <> '*'
        AND k.tokens_at < now() - :age
        AND (SELECT true FROM jobs.jobs j WHERE j.kind = k.kind AND j.ready LIMIT 1) IS NULL
        AND (SELECT true FROM jobs.jobs j
            WHERE j.kind = k.kind AND j.state = {sql.PENDING} AND NOT j.ready LIMIT 1) IS NULL
        AND (SELECT true FROM jobs.jobs j WHERE j.kind = k.kind AND j.state IN {sql.HELD} LIMIT 1) IS NULL
        AND (SELECT true FROM jobs.jobs j WHERE j.kind = k.kind AND j.awaits_children LIMIT 1) IS NULL
        AND (SELECT true FROM jobs.jobs j WHERE j.kind = k.kind AND j.finished_at IS NOT NULL LIMIT 1) IS NULL
""").bindparams(sa.bindparam("age", type_=sa.Interval))
_DELETE_WORKERS = sa.text("DELETE FROM jobs.workers WHERE seen_at < now() - :age").bindparams(
    sa.bindparam("age", type_=sa.Interval)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    read: int
    deleted: int
    end: Position
    """The last job that was read."""
    left: Position | None
    """Before the first job that was read and not deleted."""


@dataclass(slots=True, kw_only=True)
class _Walk:
    """The position in the finished jobs of a kind that are due."""

    kind: str
    until: datetime
    position: Position
    size: BatchSize
    left: Position | None = None
    is_over: bool = False

    def advance(self, done: _Batch) -> Position:
        """Move behind a batch; return where the next call may begin."""
        self.position, self.left = done.end, self.left or done.left
        return self.left or self.position


@dataclass(frozen=True, slots=True, kw_only=True)
class Deleted:
    """The number of deleted rows."""

    jobs: int = 0
    workers: int = 0
    kinds: int = 0
    schedules: int = 0
    is_complete: bool = True
    """Whether the call has deleted everything that was due."""


async def clean(
    engine: AsyncEngine,
    report: Report,
    *,
    positions: dict[str, Position] | None = None,
    batch: int = BATCH,
    max_batches: int = MAX_BATCHES,
    pause_seconds: float = PAUSE_SECONDS,
) -> Deleted:
    """Delete everything that is due, in up to `max_batches` batches of up to `batch` jobs, each in its own transaction.

    `positions` has where the next call may begin for each kind: it need not walk over the index entries of deleted jobs.
    """
    jobs, batches = 0, 0
    positions = {} if positions is None else positions
    walks = [
        _Walk(
            kind=kind,
            until=until,
            position=positions.get(kind, _START),
            size=BatchSize(min(FIRST_BATCH, batch), most=batch),
        )
        for kind, until in await _kinds(engine)
    ]
    ends_at = time.monotonic() + MAX_SECONDS
    while walks and batches < max_batches and time.monotonic() < ends_at:
        # Kinds alternate: a kind whose jobs end faster than they are deleted must not keep those of others in the table.
        for walk in walks:
            if batches >= max_batches:
                break
            started = time.monotonic()
            if (done := await _try_batch(engine, walk)) is None:
                batches += 1
                continue
            positions[walk.kind] = walk.advance(done)
            walk.is_over = done.read < walk.size.limit
            walk.size.adapt(time.monotonic() - started)
            if done.read:
                jobs += done.deleted
                batches += 1
                await report(jobs)
                await asyncio.sleep(pause_seconds)
        walks = [walk for walk in walks if not walk.is_over]
    await _clean_notes(engine)
    rest = await _clean_rest(engine)
    return replace(rest, jobs=jobs, is_complete=not walks)


async def _kinds(engine: AsyncEngine) -> list[tuple[str, datetime]]:
    """Return the kinds with finished jobs, each with the time before which those are due."""
    async with postgres.autocommit(engine).connect() as conn:
        return [(row.kind, row.until) for row in await conn.execute(KINDS, {"unknown": UNKNOWN_KIND})]


async def _try_batch(engine: AsyncEngine, walk: _Walk) -> _Batch | None:
    """Delete one batch; None if it failed and the next one is smaller. Passes over a job that the database refuses to delete."""
    try:
        async with engine.begin() as conn:
            return await _clean_batch(conn, walk.kind, walk.until, walk.position, limit=walk.size.limit)
    except DBAPIError as error:
        if isolation.is_unavailable(error):
            walk.size.shrink_after(error)
            return None
        if walk.size.limit > 1:
            walk.size.shrink()
            return None
        logger.exception("a job cannot be deleted", extra={"kind": walk.kind})
    async with engine.begin() as conn:
        return _batch(await _read_batch(conn, walk.kind, walk.until, walk.position, limit=1), set(), walk.position)


async def _clean_batch(conn: AsyncConnection, kind: str, until: datetime, position: Position, *, limit: int) -> _Batch:
    old = await _read_batch(conn, kind, until, position, limit=limit)
    deleted: set[UUID] = set()
    if free := [row.job_id for row in old if row.is_free]:
        result = await conn.execute(DELETE_JOBS, {"job_ids": free, "until": until})
        deleted = set(result.scalars())
        await conn.execute(DELETE_EVENTS, {"job_ids": list(deleted)})
    return _batch(old, deleted, position)


async def _read_batch(
    conn: AsyncConnection, kind: str, until: datetime, position: Position, *, limit: int
) -> Sequence[sa.Row[Any]]:
    parameters = {"kind": kind, "until": until, "after_time": position[0], "after_id": position[1], "limit": limit}
    return (await conn.execute(OLD, parameters)).all()


def _batch(old: Sequence[sa.Row[Any]], deleted: Collection[UUID], position: Position) -> _Batch:
    return _Batch(
        read=len(old),
        deleted=len(deleted),
        end=(old[-1].finished_at, old[-1].job_id) if old else position,
        left=next(((row.finished_at, UUID(int=0)) for row in old if row.job_id not in deleted), None),
    )


async def _clean_notes(engine: AsyncEngine) -> None:
    oldest = ids.uuid7_of(datetime.now(UTC) - domain.DELETED_ID_LIFETIME, "")
    for _ in range(MAX_NOTES_BATCHES):
        async with engine.begin() as conn:
            result = await conn.execute(DELETE_NOTES, {"oldest": oldest, "limit": NOTES_BATCH})
        if result.rowcount < NOTES_BATCH:
            return


async def _clean_rest(engine: AsyncEngine) -> Deleted:
    async with engine.begin() as conn:
        workers = await conn.execute(_DELETE_WORKERS, {"age": WORKER_UNSEEN})
        kinds = await conn.execute(DELETE_KINDS, {"age": UNUSED_KIND_AGE})
        schedules = await storage.delete_unregistered(conn, age=UNREGISTERED_SCHEDULE_AGE)
        await change_log.delete_old_kind_changes(conn)
    return Deleted(workers=workers.rowcount, kinds=kinds.rowcount, schedules=schedules)
