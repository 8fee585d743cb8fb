"""Lists of jobs by filters, page by page in both directions."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import errors, paging, postgres
from services.jobs import list_storage, unreadable
from services.jobs.domain import Job, State

MAX_COUNT = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of jobs, and the tokens of its neighbours."""

    jobs: list[Job]
    next_page_token: str
    previous_page_token: str
    count: int
    """The number of jobs in all pages, as far as they were counted."""
    kinds: list[str]
    """The kinds of the owner's newest jobs."""


class JobLists:
    def __init__(self, engine: AsyncEngine, unreadable_rows: unreadable.Unreadable) -> None:
        self._single = postgres.autocommit(engine)
        self._unreadable_rows = unreadable_rows

    async def page(
        self,
        *,
        owner_id: UUID | None,
        states: Collection[State],
        kinds: Collection[str],
        parent_id: UUID | None,
        page_size: int,
        page_token: str,
        oldest_first: bool = False,
        max_count: int = 0,
        include_kinds: bool = False,
    ) -> Page:
        """Return a page of jobs, newest first unless `oldest_first`, and their number up to `max_count`.

        With `include_kinds` also the kinds of the owner's newest `MAX_COUNT` jobs, whatever the other filters are. Raises
        `InvalidArgument` for a token of another list, a number above `MAX_COUNT`, and kinds without an owner.
        """
        if not 0 <= max_count <= MAX_COUNT:
            raise errors.InvalidArgument(f"max_count must be 0 to {MAX_COUNT}.", field="max_count")
        if include_kinds and owner_id is None:
            raise errors.InvalidArgument("include_kinds needs an owner.", field="owner_id")
        of_list = (str(owner_id), sorted(states), sorted(kinds), str(parent_id), *(["oldest"] if oldest_first else []))
        limit = paging.size(page_size)
        filters = list_storage.Filters(
            owner_id=owner_id, states=states, kinds=kinds, parent_id=parent_id, position=None, limit=limit
        )

        async def select(start: paging.Start, count: int) -> list[Job]:
            position = paging.parse_uuid(start.position[0]) if start.position else None
            is_ascending = oldest_first != start.is_back
            return await self._read({**filters, "position": position, "limit": count, "is_ascending": is_ascending})

        page = await paging.page(
            paging.start(page_token, filters=of_list, length=1),
            limit=limit,
            filters=of_list,
            select=select,
            position_of=lambda job: [str(job.job_id)],
        )
        return Page(
            jobs=list(page.rows),
            next_page_token=page.next_token,
            previous_page_token=page.previous_token,
            count=await self._count({**filters, "limit": max_count}) if max_count else 0,
            kinds=await self._kinds(owner_id) if include_kinds and owner_id else [],
        )

    async def _read(self, filters: list_storage.Filters) -> list[Job]:
        return await self._unreadable_rows.retry_after_repair(
            partial(self._list, filters), lambda conn: list_storage.list_job_ids(conn, **filters)
        )

    async def _list(self, filters: list_storage.Filters) -> list[Job]:
        async with self._single.connect() as conn:
            return await list_storage.list_jobs(conn, **filters)

    async def _count(self, filters: list_storage.Filters) -> int:
        async with self._single.connect() as conn:
            return await list_storage.count_jobs(conn, **filters)

    async def _kinds(self, owner_id: UUID) -> list[str]:
        async with self._single.connect() as conn:
            return await list_storage.list_kinds(conn, owner_id, limit=MAX_COUNT)
