"""Lists of jobs, and the history of one, in the database: one function per statement."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NotRequired, TypedDict, Unpack
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.jobs import domain
from services.jobs.domain import Job, State
from services.jobs.schema import attempts, job_events, jobs
from services.jobs.storage import LIGHT, built_jobs

MAX_HISTORY_ROWS = 1_000
"""Attempts and transitions of a job that are returned."""


MAX_JOBS_AHEAD = 1_000
"""How far the jobs before a waiting one are counted."""


class Filters(TypedDict):
    """Which jobs a list has; None and empty collections do not filter."""

    owner_id: UUID | None
    states: Collection[State]
    kinds: Collection[str]
    parent_id: UUID | None
    position: UUID | None
    """Jobs that come after this one."""
    limit: int
    is_ascending: NotRequired[bool]
    """Oldest first."""


async def list_jobs(conn: AsyncConnection, **filters: Unpack[Filters]) -> list[Job]:
    """Return jobs, newest first by the time in their ids unless the filters say otherwise."""
    return await built_jobs(conn, listed(sa.select(*LIGHT), filters))


async def list_job_ids(conn: AsyncConnection, **filters: Unpack[Filters]) -> list[UUID]:
    return list((await conn.execute(listed(sa.select(jobs.c.job_id), filters))).scalars())


def listed(statement: sa.Select[Any], filters: Filters) -> sa.Select[Any]:
    """Return the statement restricted to the jobs of a list, in its order."""
    is_ascending = filters.get("is_ascending", False)
    statement = statement.order_by(jobs.c.job_id if is_ascending else jobs.c.job_id.desc()).limit(filters["limit"])
    if owner_id := filters["owner_id"]:
        statement = statement.where(jobs.c.owner_id == owner_id)
    if parent_id := filters["parent_id"]:
        statement = statement.where(jobs.c.parent_id == parent_id)
    if states := filters["states"]:
        statement = statement.where(jobs.c.state.in_(states))
        if domain.FINISHED.isdisjoint(states):
            # For the index of unfinished jobs: the time must not grow with the history.
            statement = statement.where(jobs.c.finished_at.is_(None))
    if kinds := filters["kinds"]:
        statement = statement.where(jobs.c.kind.in_(kinds))
    if position := filters["position"]:
        statement = statement.where(jobs.c.job_id > position if is_ascending else jobs.c.job_id < position)
    return statement


async def count_jobs(conn: AsyncConnection, **filters: Unpack[Filters]) -> int:
    """Count the jobs of a list up to its limit."""
    job_ids = listed(sa.select(jobs.c.job_id), filters).subquery()
    return int((await conn.execute(sa.select(sa.func.count()).select_from(job_ids))).scalar_one())


async def count_ahead(conn: AsyncConnection, job: Job) -> int:
    """Count the ready jobs of its kind that are claimed before a ready job, among the first `MAX_JOBS_AHEAD` of its kind."""
    key = (jobs.c.priority, jobs.c.fair_rank, jobs.c.job_id)
    queue = sa.select(*key).where(jobs.c.kind == job.spec.kind, jobs.c.ready)
    first = queue.order_by(jobs.c.priority.desc(), jobs.c.fair_rank, jobs.c.job_id).limit(MAX_JOBS_AHEAD).subquery()
    place = sa.tuple_(-first.c.priority, first.c.fair_rank, first.c.job_id)
    is_before = place < sa.tuple_(-job.spec.priority, job.fair_rank, job.job_id)
    return int((await conn.execute(sa.select(sa.func.count()).select_from(first).where(is_before))).scalar_one())


async def list_kinds(conn: AsyncConnection, owner_id: UUID, *, limit: int) -> list[str]:
    """Return the kinds of an owner's newest jobs, by name."""
    newest = (
        sa.select(jobs.c.kind).where(jobs.c.owner_id == owner_id).order_by(jobs.c.job_id.desc()).limit(limit).subquery()
    )
    return list((await conn.execute(sa.select(newest.c.kind).distinct().order_by(newest.c.kind))).scalars())


async def list_attempts(conn: AsyncConnection, job_id: UUID) -> Sequence[Mapping[str, Any]]:
    """Return the newest `MAX_HISTORY_ROWS` attempts of a job, oldest first."""
    statement = sa.select(attempts).where(attempts.c.job_id == job_id).order_by(attempts.c.attempt.desc())
    return [dict(row) for row in (await conn.execute(statement.limit(MAX_HISTORY_ROWS))).mappings()][::-1]


async def list_transitions(conn: AsyncConnection, job_id: UUID) -> Sequence[Mapping[str, Any]]:
    """Return the newest `MAX_HISTORY_ROWS` transitions of a job, oldest first."""
    columns = [column for column in job_events.c if column is not job_events.c.event]
    statement = sa.select(*columns).where(job_events.c.job_id == job_id).order_by(job_events.c.sequence.desc())
    return [dict(row) for row in (await conn.execute(statement.limit(MAX_HISTORY_ROWS))).mappings()][::-1]
