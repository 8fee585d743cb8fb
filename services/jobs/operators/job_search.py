"""Lists and counts of jobs across owners, for operators. `job_filters` bounds the cost of each statement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from chassis import paging, postgres
from services.jobs import domain, mapping, sql
from services.jobs.domain import State
from services.jobs.operators.job_filters import JobFilter

SCAN = 20_000
"""Jobs of each part of a filter that one statement reads."""
FIRST_SCAN = 500
"""The same for the first try: most pages are full after it."""
MAX_COUNT = 10_000
_MAX_OFFSET = SCAN
_NEWER, _OLDER = "newer", "older"


class Order(StrEnum):
    NEWEST = "newest"
    OLDEST = "oldest"
    LONGEST_WAIT = "longest_wait"
    LONGEST_RUN = "longest_run"


_SORT_KEYS = {Order.LONGEST_WAIT: sql.WAIT_TIME, Order.LONGEST_RUN: sql.RUN_TIME}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    job: domain.Job
    worker: str
    wait: timedelta | None
    run: timedelta | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page of jobs, and the tokens of its neighbours."""

    rows: list[Row]
    next_page_token: str
    previous_page_token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """The number of jobs that match a filter."""

    count: int
    has_more: bool
    owners: int
    groups: Sequence[tuple[str, State, int]]
    """Kind, state, number, most first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Slice:
    """Ids from one position, in the order in which they were read, and where the next slice begins; None at the end."""

    job_ids: list[UUID]
    end: UUID | None


class JobSearch:
    """Reads jobs of all owners."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._single = postgres.autocommit(engine)

    async def page(self, job_filter: JobFilter, *, order: Order, page_size: int, page_token: str) -> Page:
        """Return a page of jobs. Raises `InvalidArgument` for a token of another filter or order."""
        limit = paging.size(page_size)
        filters = (job_filter.identity, str(order))
        position = paging.position(page_token, filters=filters, length=2)
        async with self._single.connect() as conn:
            if order in _SORT_KEYS:
                offset = _offset(position)
                job_ids = await _sorted_ids(conn, job_filter, order, offset=offset, limit=limit + 1)
                following = [_OLDER, str(offset + limit)] if len(job_ids) > limit else None
                preceding = [_NEWER, str(max(0, offset - limit))] if offset else None
            else:
                job_ids, preceding, following = await _ids_around(conn, job_filter, order, position, limit)
            rows = await _rows(conn, job_ids[:limit])
        return Page(
            rows=rows,
            next_page_token=paging.token(following, filters=filters) if following else "",
            previous_page_token=paging.token(preceding, filters=filters) if preceding else "",
        )

    async def count(self, job_filter: JobFilter) -> Count:
        """Count up to `MAX_COUNT` jobs."""
        parameters = {**job_filter.parameters(), "scan": SCAN, "limit": MAX_COUNT + 1}
        async with self._single.connect() as conn:
            rows = (await conn.execute(sa.text(_count_sql(job_filter)), parameters)).all()
        total = next(row for row in rows if row.kind is None)
        groups = sorted(
            ((row.kind, State(row.state), row.jobs) for row in rows if row.kind is not None),
            key=lambda group: -group[2],
        )
        is_cut = total.jobs > MAX_COUNT
        return Count(
            count=min(total.jobs, MAX_COUNT), has_more=is_cut or total.is_partial, owners=total.owners, groups=groups
        )

    async def ids_after(
        self, job_filter: JobFilter, after: UUID | None, *, limit: int
    ) -> tuple[list[UUID], UUID | None]:
        """Return up to `limit` ids after a position, oldest first, and the position of the next call; None at the end."""
        async with self._single.connect() as conn:
            ids = await _slice(conn, job_filter, after, is_descending=False, limit=limit, scan=SCAN)
        return ids.job_ids, ids.end


async def _ids_around(
    conn: AsyncConnection, job_filter: JobFilter, order: Order, position: list[str] | None, limit: int
) -> tuple[list[UUID], list[str] | None, list[str] | None]:
    """Return the ids of a page by submit, and the positions of the previous and the next page."""
    is_descending = order is Order.NEWEST
    is_backwards = position is not None and position[0] == _NEWER
    start = paging.parse_uuid(position[1]) if position else None
    for scan in (FIRST_SCAN, SCAN):
        page = await _slice(
            conn, job_filter, start, is_descending=is_descending != is_backwards, limit=limit, scan=scan
        )
        if len(page.job_ids) == limit or page.end is None:
            break
    end = str(page.end) if page.end else ""
    if is_backwards and not end:
        # The first page, whole.
        return await _ids_around(conn, job_filter, order, None, limit)
    if is_backwards:
        return page.job_ids[::-1], [_NEWER, end], [_OLDER, str(page.job_ids[0] if page.job_ids else start)]
    preceding = [_NEWER, str(page.job_ids[0] if page.job_ids else start)] if start else None
    return page.job_ids, preceding, [_OLDER, end] if end else None


async def _slice(
    conn: AsyncConnection, job_filter: JobFilter, start: UUID | None, *, is_descending: bool, limit: int, scan: int
) -> _Slice:
    """Read the matching ids after `start`. Parts that were read to their limit end the slice at their last id."""
    parameters = {**job_filter.parameters(), "start": start, "scan": scan, "limit": limit + 1}
    job_ids: list[UUID] = []
    ends: list[UUID] = []
    for row in await conn.execute(sa.text(_slice_sql(job_filter, start, is_descending=is_descending)), parameters):
        (ends if row.is_end else job_ids).append(row.job_id)
    # UUIDs compare as PostgreSQL orders them.
    job_ids.sort(reverse=is_descending)
    if not ends:
        return _Slice(job_ids=job_ids[:limit], end=job_ids[limit - 1] if len(job_ids) > limit else None)
    frontier = max(ends) if is_descending else min(ends)
    complete = [job_id for job_id in job_ids if (job_id >= frontier if is_descending else job_id <= frontier)]
    return _Slice(job_ids=complete[:limit], end=complete[limit - 1] if len(complete) > limit else frontier)


def _slice_sql(job_filter: JobFilter, start: UUID | None, *, is_descending: bool) -> str:
    order, sign, reverse = ("DESC", "<", "ASC") if is_descending else ("ASC", ">", "DESC")
    after = f"AND j.job_id {sign} CAST(:start AS uuid)" if start else ""
    parts, reads = [], []
    for number, source in enumerate(job_filter.sources()):
        parts.append(f"""s{number} AS MATERIALIZED (
            SELECT j.job_id, {job_filter.matches()} AS matches FROM (
                SELECT * FROM jobs.jobs j WHERE {source} AND {job_filter.range()} {after}
                ORDER BY j.job_id {order} LIMIT :scan) j)""")
        reads.append(f"""
            SELECT * FROM (SELECT job_id, false AS is_end FROM s{number} WHERE matches
                ORDER BY job_id {order} LIMIT :limit) r{number}
            UNION ALL SELECT (SELECT job_id FROM s{number} ORDER BY job_id {reverse} LIMIT 1), true
                WHERE (SELECT count(*) FROM s{number}) = :scan""")
    return f"WITH {', '.join(parts)} {' UNION ALL '.join(reads)}"


def _union(job_filter: JobFilter, columns: str) -> str:
    """Return the newest jobs of all parts with `source`, `matches` and further columns."""
    return " UNION ALL ".join(
        f"""SELECT {number} AS source, {job_filter.matches()} AS matches, {columns} FROM (
            SELECT * FROM jobs.jobs j WHERE {source} AND {job_filter.range()} ORDER BY j.job_id DESC LIMIT :scan) j"""
        for number, source in enumerate(job_filter.sources())
    )


def _count_sql(job_filter: JobFilter) -> str:
    return f"""
WITH read AS MATERIALIZED ({_union(job_filter, "j.kind, j.state, j.owner_id")}),
counted AS (SELECT kind, state, owner_id FROM read WHERE matches LIMIT :limit)
SELECT kind, state, count(*) AS jobs, count(DISTINCT owner_id) AS owners,
    (SELECT coalesce(bool_or(jobs = :scan), false) FROM (SELECT count(*) AS jobs FROM read GROUP BY source) s) AS is_partial
FROM counted GROUP BY GROUPING SETS ((kind, state), ())
"""


async def _sorted_ids(
    conn: AsyncConnection, job_filter: JobFilter, order: Order, *, offset: int, limit: int
) -> list[UUID]:
    """Return ids of the newest jobs in the order of a duration."""
    statement = f"""
SELECT job_id FROM ({_union(job_filter, f"j.job_id, {_SORT_KEYS[order]} AS sort_key")}) read
WHERE matches AND sort_key IS NOT NULL ORDER BY sort_key DESC, job_id LIMIT :limit OFFSET :offset
"""
    parameters = {**job_filter.parameters(), "scan": SCAN, "limit": limit, "offset": offset}
    return list((await conn.execute(sa.text(statement), parameters)).scalars())


_ROWS = sql.prepared(f"""
SELECT {sql.light_columns("j")}, coalesce(j.worker, a.worker, '') AS last_worker, {sql.WAIT_TIME} AS wait, {sql.RUN_TIME} AS run
FROM jobs.jobs j LEFT JOIN jobs.attempts a ON a.job_id = j.job_id AND a.attempt = j.attempt
WHERE j.job_id = ANY(:job_ids)
""")


async def _rows(conn: AsyncConnection, job_ids: Sequence[UUID]) -> list[Row]:
    """Return the jobs in the order of their ids in the argument."""
    if not job_ids:
        return []
    rows: dict[UUID, Row] = {}
    for *columns, worker, wait, run in await _ROWS.execute(conn, {"job_ids": list(job_ids)}):
        job = mapping.job(columns)
        rows[job.job_id] = Row(job=job, worker=worker, wait=wait, run=run)
    return [rows[job_id] for job_id in job_ids if job_id in rows]


def _offset(position: list[str] | None) -> int:
    if position is None:
        return 0
    if not (position[1].isascii() and position[1].isdecimal() and len(position[1]) <= 6):
        raise paging.invalid_token()
    return min(int(position[1]), _MAX_OFFSET)
