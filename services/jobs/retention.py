"""What nobody needs any more is deleted: ended jobs after their kind's retention, and what was left of workers and kinds.

Whatever is not deleted now is deleted the next time: an attempt that is cut off costs nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from chassis import postgres
from services.jobs.schedules import storage

BATCH = 1_000
BATCHES_MOST = 500
"""So many batches a call; at one call every five minutes that keeps up with 1,600 jobs a second."""
PAUSE_SECONDS = 0.05
"""Between batches: who works on jobs goes first."""
UNKNOWN_KIND = timedelta(days=7)
WORKER_UNSEEN = timedelta(days=1)
KIND_UNUSED = timedelta(days=1)
"""A kind that was named once and that nobody serves or has limited."""
SCHEDULE_UNDECLARED = timedelta(days=7)
"""A schedule that its worker does not declare any more was taken out of the program."""

Report = Callable[[int], Awaitable[None]]
"""Told how many jobs are deleted so far."""

_Place = tuple[datetime, UUID]
_START: _Place = (datetime.fromtimestamp(0, UTC), UUID(int=0))

# One probe of the index jobs_finished a kind, however many jobs there are.
KINDS = sa.text("""
    WITH RECURSIVE walk AS (
        (SELECT kind FROM jobs.jobs WHERE finished_at IS NOT NULL ORDER BY kind LIMIT 1)
        UNION ALL
        SELECT (SELECT j.kind FROM jobs.jobs j WHERE j.finished_at IS NOT NULL AND j.kind > walk.kind ORDER BY j.kind LIMIT 1)
        FROM walk WHERE walk.kind IS NOT NULL
    )
    SELECT walk.kind, now() - coalesce(k.retention, :unknown) AS until
    FROM walk LEFT JOIN jobs.kinds k ON k.kind = walk.kind WHERE walk.kind IS NOT NULL
""").bindparams(sa.bindparam("unknown", type_=sa.Interval))

# The index gives them by time, and the next batch begins behind what this one has looked at: so those that must stay, for the
# sake of a living parent or child, are passed once a call. Not by EXISTS, for which the planner may read the table through.
OLD = sa.text("""
    SELECT seen.job_id, seen.finished_at,
        coalesce((SELECT p.finished_at IS NOT NULL FROM jobs.jobs p WHERE p.job_id = seen.parent_id), true)
        AND (seen.children_total = 0 OR coalesce((
            SELECT false FROM jobs.jobs c WHERE c.parent_id = seen.job_id AND c.finished_at IS NULL LIMIT 1), true)) AS is_free
    FROM (
        SELECT j.job_id, j.finished_at, j.parent_id, j.children_total FROM jobs.jobs j
        WHERE j.kind = :kind AND j.finished_at >= :after_time AND j.finished_at < :until
            AND (j.finished_at, j.job_id) > (:after_time, :after_id)
        ORDER BY j.finished_at, j.job_id LIMIT :limit
    ) seen
    ORDER BY seen.finished_at, seen.job_id
""")

# Attempts and checkpoints go with their job, by their foreign keys. One that is being retried is locked, or open again.
DELETE_JOBS = sa.text("""
    DELETE FROM jobs.jobs WHERE job_id = ANY(ARRAY(
        SELECT job_id FROM jobs.jobs WHERE job_id = ANY(:job_ids) AND finished_at < :until FOR UPDATE SKIP LOCKED))
    RETURNING job_id
""")
DELETE_EVENTS = sa.text("DELETE FROM jobs.job_events WHERE job_id = ANY(:job_ids)")

# Each look for jobs is a probe of an index. Those that are scheduled for a time are not looked for: such a row says nothing, and
# comes back when somebody asks for its kind.
DELETE_KINDS = sa.text("""
    DELETE FROM jobs.kinds k
    WHERE k.declared_at IS NULL AND NOT k.is_limited AND k.max_running_per_key = 1 AND k.kind <> '*'
        AND k.tokens_at < now() - :age
        AND (SELECT true FROM jobs.jobs j WHERE j.kind = k.kind AND j.ready LIMIT 1) IS NULL
        AND (SELECT true FROM jobs.jobs j WHERE j.kind = k.kind AND j.state = 'pending' AND NOT j.ready LIMIT 1) IS NULL
        AND (SELECT true FROM jobs.jobs j WHERE j.kind = k.kind AND j.state IN ('running', 'cancelling') LIMIT 1) IS NULL
        AND (SELECT true FROM jobs.jobs j WHERE j.kind = k.kind AND j.awaits_children LIMIT 1) IS NULL
        AND (SELECT true FROM jobs.jobs j WHERE j.kind = k.kind AND j.finished_at IS NOT NULL LIMIT 1) IS NULL
""").bindparams(sa.bindparam("age", type_=sa.Interval))
_DELETE_WORKERS = sa.text("DELETE FROM jobs.workers WHERE seen_at < now() - :age").bindparams(
    sa.bindparam("age", type_=sa.Interval)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deleted:
    """How much was deleted."""

    jobs: int = 0
    workers: int = 0
    kinds: int = 0
    schedules: int = 0
    is_complete: bool = True
    """Whether nothing was left for the next call."""


async def clean(
    engine: AsyncEngine,
    report: Report,
    *,
    batch: int = BATCH,
    most: int = BATCHES_MOST,
    pause_seconds: float = PAUSE_SECONDS,
) -> Deleted:
    """Delete what nobody needs any more, in up to `most` batches, each a transaction of its own."""
    jobs, batches = 0, 0
    for kind, until in await _kinds(engine):
        place: _Place | None = _START
        while place and batches < most:
            async with engine.begin() as conn:
                place, seen, deleted = await _clean_batch(conn, kind, until, place, limit=batch)
            if not seen:
                break
            jobs += deleted
            batches += 1
            await report(jobs)
            await asyncio.sleep(pause_seconds)
    rest = await _clean_rest(engine)
    return replace(rest, jobs=jobs, is_complete=batches < most)


async def _kinds(engine: AsyncEngine) -> list[tuple[str, datetime]]:
    """Give the kinds of which jobs have ended, each with the time before which they are to be deleted."""
    async with postgres.autocommit(engine).connect() as conn:
        return [(row.kind, row.until) for row in await conn.execute(KINDS, {"unknown": UNKNOWN_KIND})]


async def _clean_batch(
    conn: AsyncConnection, kind: str, until: datetime, place: _Place, *, limit: int
) -> tuple[_Place | None, int, int]:
    """Look at the next jobs and delete them; gives where to go on (None at the end), how many there were, how many are gone."""
    given = {"kind": kind, "until": until, "after_time": place[0], "after_id": place[1], "limit": limit}
    seen = (await conn.execute(OLD, given)).all()
    deleted: list[UUID] = []
    if free := [row.job_id for row in seen if row.is_free]:
        gone = await conn.execute(DELETE_JOBS, {"job_ids": free, "until": until})
        deleted = list(gone.scalars())
        await conn.execute(DELETE_EVENTS, {"job_ids": deleted})
    return ((seen[-1].finished_at, seen[-1].job_id) if len(seen) == limit else None), len(seen), len(deleted)


async def _clean_rest(engine: AsyncEngine) -> Deleted:
    async with engine.begin() as conn:
        workers = await conn.execute(_DELETE_WORKERS, {"age": WORKER_UNSEEN})
        kinds = await conn.execute(DELETE_KINDS, {"age": KIND_UNUSED})
        schedules = await storage.delete_undeclared(conn, age=SCHEDULE_UNDECLARED)
    return Deleted(workers=workers.rowcount, kinds=kinds.rowcount, schedules=schedules)
