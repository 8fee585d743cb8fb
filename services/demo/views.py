"""Lists and numbers of the visible rows, each read in one snapshot of the database."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from chassis import errors, paging, postgres
from services.demo import queries, read_models, storage
from services.demo.domain import Mode, State

CACHE_SECONDS = 60.0
CACHE_SIZE = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentPage:
    content: Sequence[read_models.Content] = ()
    next_page_token: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class InteractionPage:
    interactions: Sequence[read_models.Interaction] = ()
    next_page_token: str = ""
    previous_page_token: str = ""


class Views:
    """Reads of visible rows. Dashboards are remembered for 60 s, by the version of the demo mode they belong to."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._single = postgres.autocommit(engine)
        self._snapshots = engine.execution_options(isolation_level="REPEATABLE READ")
        self._dashboards: dict[tuple[UUID, int], tuple[float, asyncio.Task[read_models.Dashboard]]] = {}

    async def list_content(self, owner_id: UUID, *, order_by: str, page_size: int, page_token: str) -> ContentPage:
        """Read a page of content. Raises `InvalidArgument`."""
        order = read_models.order(order_by)
        limit = paging.size(page_size)
        after = paging.position(page_token, filters=("content", order), length=3)
        async with self._snapshot(owner_id) as (conn, mode):
            if mode.state is not State.ENABLED:
                return ContentPage()
            position = _same_generation(after, mode)
            before = None
            if position:
                key = _moment(position[1]) if order is read_models.Order.NEWEST else _number(position[1], digits=18)
                before = (key, _number(position[2]))
            rows = await queries.list_content(
                conn, owner_id, mode.generation, order=order, before=before, limit=limit + 1
            )
        if len(rows) <= limit:
            return ContentPage(content=rows)
        last = rows[limit - 1]
        value = last.published_at.isoformat() if order is read_models.Order.NEWEST else str(last.views)
        token = paging.token([str(mode.generation), value, str(last.position)], filters=("content", order))
        return ContentPage(content=rows[:limit], next_page_token=token)

    async def list_interactions(
        self, owner_id: UUID, filters: read_models.Filters, *, page_size: int, page_token: str
    ) -> InteractionPage:
        """Read a page of interactions. Raises `InvalidArgument`."""
        limit = paging.size(page_size)
        start = paging.start(page_token, filters=filters, length=3)
        async with self._snapshot(owner_id) as (conn, mode):
            if mode.state is not State.ENABLED:
                return InteractionPage()
            _same_generation(start.position, mode)

            async def select(start: paging.Start, count: int) -> Sequence[read_models.Interaction]:
                position = start.position
                return await queries.list_interactions(
                    conn,
                    owner_id,
                    mode.generation,
                    filters=filters,
                    start=(_moment(position[1]), _number(position[2])) if position else None,
                    is_ascending=filters.oldest_first != start.is_back,
                    limit=count,
                )

            page = await paging.page(
                start,
                limit=limit,
                filters=filters,
                select=select,
                position_of=lambda row: [str(mode.generation), row.occurred_at.isoformat(), str(row.position)],
            )
        return InteractionPage(
            interactions=page.rows, next_page_token=page.next_token, previous_page_token=page.previous_token
        )

    async def arriving(self, owner_id: UUID, count: int) -> Sequence[read_models.Interaction]:
        """Read what the job that enables demo mode has written last, at most 5; nothing in other states."""
        limit = min(count, read_models.MAX_ARRIVING)
        if limit <= 0:
            return ()
        async with self._snapshot(owner_id) as (conn, mode):
            if mode.state is not State.ENABLING:
                return ()
            return await queries.list_written(conn, owner_id, mode.generation, limit)

    async def dashboard(self, owner_id: UUID) -> read_models.Dashboard:
        """Read the numbers, with all days: at most 60 s old, never older than the latest transition."""
        async with self._single.connect() as conn:
            mode = await storage.get_mode(conn, owner_id)
        if mode.state is not State.ENABLED:
            return queries.empty_dashboard(datetime.now(UTC))
        # Several readers at once share one computation; one of them leaving must not end it for the others.
        return await asyncio.shield(self._computation_of(owner_id, mode.version))

    def _computation_of(self, owner_id: UUID, version: int) -> asyncio.Task[read_models.Dashboard]:
        key = (owner_id, version)
        now = time.monotonic()
        cached = self._dashboards.pop(key, None)
        if cached is None or cached[0] < now or (cached[1].done() and _has_failed(cached[1])):
            cached = (now + CACHE_SECONDS, asyncio.create_task(self._compute(owner_id)))
            cached[1].add_done_callback(_has_failed)  # retrieves the error, also when every reader has left
        self._dashboards[key] = cached
        while len(self._dashboards) > CACHE_SIZE:
            self._dashboards.pop(next(iter(self._dashboards)))
        return cached[1]

    async def _compute(self, owner_id: UUID) -> read_models.Dashboard:
        async with self._snapshot(owner_id) as (conn, mode):
            if mode.state is not State.ENABLED:
                return queries.empty_dashboard(datetime.now(UTC))
            return await queries.read_dashboard(conn, owner_id, mode.generation)

    @asynccontextmanager
    async def _snapshot(self, owner_id: UUID) -> AsyncIterator[tuple[AsyncConnection, Mode]]:
        # Mode and rows are of the same moment: no read sees the rows of a demo mode that is already being removed.
        async with self._snapshots.begin() as conn:
            yield conn, await storage.get_mode(conn, owner_id)


def _has_failed(task: asyncio.Task[read_models.Dashboard]) -> bool:
    return task.cancelled() or task.exception() is not None


def _same_generation(position: list[str] | None, mode: Mode) -> list[str] | None:
    if position and position[0] != str(mode.generation):
        raise _bad_token()
    return position


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise _bad_token() from None
    if moment.utcoffset() is None:
        raise _bad_token()
    return moment


def _number(text: str, *, digits: int = 9) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > digits:
        raise _bad_token()
    return int(text)


def _bad_token() -> errors.InvalidArgument:
    return errors.InvalidArgument(
        "page_token must be that of another page of the present demo data.", field="page_token"
    )
