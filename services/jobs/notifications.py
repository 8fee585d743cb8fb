"""Notifications: finished jobs of notifying kinds until their owner marks them read. The jobs are the only list."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from chassis import bus, errors, paging, postgres, protobuf
from repruv.jobs.v1 import job_events_pb2
from services.jobs import broadcast, channels, domain, storage
from services.jobs.schema import jobs

MAX_COUNT = 100
"""The highest unread count; more notifications count as this many."""
MARK_BATCH = 1_000
MAX_KINDS = 100
"""Kinds that a filter names."""
MAX_FILTERED = 1_000
"""The latest unread jobs that a filter by kind looks through."""

# The predicate of the index jobs_unread.
_IS_UNREAD = sa.and_(jobs.c.notifies, jobs.c.finished_at.is_not(None), jobs.c.read_at.is_(None))


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    jobs: list[domain.Job]
    next_page_token: str
    unread_count: int


class Notifications:
    def __init__(self, engine: AsyncEngine, nats: bus.Bus) -> None:
        """Create it; `nats` broadcasts the unread count after each change."""
        self._single = postgres.autocommit(engine)
        self._broadcaster = broadcast.Broadcaster(nats)

    async def list_page(
        self,
        owner_id: UUID,
        *,
        kinds: Collection[str] = (),
        excluded_kinds: Collection[str] = (),
        page_size: int,
        page_token: str,
    ) -> Page:
        """Return a page of unread notifications of these kinds, the latest first, and their number, up to 100.

        Raises `InvalidArgument` for too many kinds and for a token of another list.
        """
        for field, names in (("kinds", kinds), ("excluded_kinds", excluded_kinds)):
            if len(names) > MAX_KINDS:
                raise errors.InvalidArgument(f"{field} must be at most {MAX_KINDS}.", field=field)
        of_list = (str(owner_id), sorted(kinds), sorted(excluded_kinds)) if kinds or excluded_kinds else str(owner_id)
        limit = paging.size(page_size)
        position = paging.position(page_token, filters=of_list, length=2)
        unread = _unread(owner_id, kinds, excluded_kinds)
        page = (
            sa.select(*storage.LIGHT)
            .where(unread)
            .order_by(jobs.c.finished_at.desc(), jobs.c.job_id.desc())
            .limit(limit + 1)
        )
        if position:
            page = page.where(sa.tuple_(jobs.c.finished_at, jobs.c.job_id) < sa.tuple_(*_read(position)))
        async with self._single.connect() as conn:
            unread_jobs = await storage.built_jobs(conn, page)
            unread_count, _ = await _count(conn, unread)
        more = len(unread_jobs) > limit
        token = paging.token(_position_of(unread_jobs[limit - 1]), filters=of_list) if more else ""
        return Page(jobs=unread_jobs[:limit], next_page_token=token, unread_count=unread_count)

    async def mark_read(self, owner_id: UUID, job_ids: Sequence[UUID]) -> int:
        """Mark jobs read, all finished ones without `job_ids`; return how many were unread."""
        async with self._single.connect() as conn:
            marked = batch = await _mark(conn, owner_id, job_ids)
            while batch == MARK_BATCH:
                batch = await _mark(conn, owner_id, job_ids)
                marked += batch
            if marked:
                unread_count, counted_at = await _count(conn, _unread(owner_id))
        if marked:
            self._broadcast(owner_id, unread_count, counted_at)
        return marked

    def _broadcast(self, owner_id: UUID, unread_count: int, counted_at: datetime) -> None:
        message = job_events_pb2.NotificationsRead(
            unread_count=unread_count, count_time=protobuf.to_timestamp(counted_at)
        )
        # It may be lost: other tabs load the count when the user opens them.
        self._broadcaster.send(channels.NOTIFICATIONS_READ.subject(owner_id), message)


def _unread(
    owner_id: UUID, kinds: Collection[str] = (), excluded_kinds: Collection[str] = ()
) -> sa.ColumnElement[bool]:
    unread = sa.and_(jobs.c.owner_id == owner_id, _IS_UNREAD)
    if not kinds and not excluded_kinds:
        return unread
    # The index does not have the kind, so the filter reads a bounded number of rows.
    latest = (
        sa.select(jobs.c.job_id, jobs.c.kind)
        .where(unread)
        .order_by(jobs.c.finished_at.desc(), jobs.c.job_id.desc())
        .limit(MAX_FILTERED)
        .subquery()
    )
    job_ids = sa.select(latest.c.job_id).where(latest.c.kind.not_in(excluded_kinds))
    if kinds:
        job_ids = job_ids.where(latest.c.kind.in_(kinds))
    return sa.and_(unread, jobs.c.job_id.in_(job_ids))


async def _count(conn: AsyncConnection, unread: sa.ColumnElement[bool]) -> tuple[int, datetime]:
    counted = sa.select(jobs.c.job_id).where(unread).limit(MAX_COUNT).subquery()
    row = (await conn.execute(sa.select(sa.func.count(), sa.func.now()).select_from(counted))).one()
    return row[0], row[1]


async def _mark(conn: AsyncConnection, owner_id: UUID, job_ids: Sequence[UUID]) -> int:
    unread = sa.select(jobs.c.job_id).where(jobs.c.owner_id == owner_id, _IS_UNREAD)
    if job_ids:
        unread = unread.where(jobs.c.job_id.in_(job_ids))
    # In the lock order of transactions that mark or retry many jobs.
    batch = unread.order_by(jobs.c.job_id).limit(MARK_BATCH).with_for_update(key_share=True)
    marking = sa.update(jobs).where(jobs.c.job_id == sa.any_(sa.func.array(batch.scalar_subquery())))
    return (await conn.execute(marking.values(read_at=sa.func.now()))).rowcount


def _position_of(job: domain.Job) -> list[str]:
    return [job.finished_at.isoformat() if job.finished_at else "", str(job.job_id)]


def _read(position: list[str]) -> tuple[datetime, UUID]:
    try:
        return datetime.fromisoformat(position[0]), UUID(position[1])
    except ValueError:
        raise paging.invalid_token() from None
