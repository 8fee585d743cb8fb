"""The handlers of the jobs `demo.enable` and `demo.disable`: rows in bulk, every write fenced, every write a checkpoint.

A transaction that writes or removes rows first locks the owner's row by its fence, and changes the counters with the
rows: so an attempt that was overtaken can write nothing, and the next one goes on exactly where it stopped.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

import worker
from services.demo import announcements, convert, dataset, domain, rows, storage, wishes
from services.demo.domain import Action, Fence, JobKind, Mode, State

WRITE_BATCH = 5_000
REMOVE_BATCH = 5_000
FIRST = (1, 1)
"""The generation and the attempt before which an owner cannot have rows."""
PAUSED_BATCH = 100
"""Rows a transaction; with a pause between them small ones, so that there is something to be seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependencies:
    """What handlers need beside their context."""

    engine: AsyncEngine
    committed: Callable[[], None]
    """Called when something waits in the outbox."""
    write_batch: int = WRITE_BATCH
    remove_batch: int = REMOVE_BATCH
    pause_seconds: float = 0.0
    failing: frozenset[str] = frozenset()
    """Kinds whose handlers fail on purpose."""


async def enable(dependencies: Dependencies, context: worker.Context) -> dict[str, Any]:
    """Write the rows that were asked for, and make them visible."""
    fence = _fence(context)
    mode, is_done = await _begin(dependencies, fence, JobKind.ENABLE)
    if not is_done:
        with _telling(dependencies):
            await _remove_strays(dependencies, fence, mode)
            await _write_rows(dependencies, context, fence, mode)
    wish = wishes.spec(mode)
    return {
        "profile_type": wish.profile_type,
        "niche": wish.niche,
        "content_count": wish.content_count,
        "interaction_count": wish.interaction_count,
    }


async def disable(dependencies: Dependencies, context: worker.Context) -> dict[str, Any]:
    """Remove the rows, and count them."""
    fence = _fence(context)
    mode, is_done = await _begin(dependencies, fence, JobKind.DISABLE)
    if not is_done:
        with _telling(dependencies):
            mode = await _remove_rows(dependencies, context, fence, mode)
    return {"content_removed": mode.content_removed, "interactions_removed": mode.interactions_removed}


async def _begin(dependencies: Dependencies, fence: Fence, kind: JobKind) -> tuple[Mode, bool]:
    """Take the fence for this attempt; the second value says that the work was done before. Raises `worker.Cancelled`."""
    async with dependencies.engine.begin() as conn:
        mode = await storage.get_mode(conn, fence.owner_id, lock=True)
        beginning = domain.begin(mode, fence, kind)
        match beginning:
            case domain.Beginning.SUPERSEDED:
                raise worker.Cancelled("superseded")
            case domain.Beginning.DONE:
                return mode, True
            case domain.Beginning.RESUME:
                action = domain.RESUME[kind]
                mode = await storage.close(conn, mode, action) or mode
                await announcements.announce(conn, mode, action)
        await storage.begin_attempt(conn, fence)
    if beginning is domain.Beginning.RESUME:
        dependencies.committed()
    if kind in dependencies.failing:
        raise worker.JobFailed(
            "demo_handler_failed", "This job was made to fail, to show what happens.", retryable=True
        )
    return mode, False


async def _write_rows(dependencies: Dependencies, context: worker.Context, fence: Fence, mode: Mode) -> None:
    spec = wishes.spec(mode)
    total = spec.interaction_count
    await context.progress(mode.interactions_written, total, "Writing content")
    items = await asyncio.to_thread(dataset.content, spec)
    if mode.content_written < len(items):
        await _stop_if_cancelled(dependencies, context, fence)
        async with _fenced(dependencies, fence, State.ENABLING) as (conn, held):
            await rows.write_content(conn, fence.owner_id, fence.generation, items[held.content_written :])
            counted = {"content_written": len(items)}
            if total == 0:
                await _end(conn, held, Action.COMPLETE_ENABLE, counted=counted)
            else:
                await storage.count(conn, fence.owner_id, counted)
    batches = _batches_ahead(spec, items, mode.interactions_written, dependencies.write_batch)
    async with contextlib.aclosing(batches):
        async for batch in batches:
            await _stop_if_cancelled(dependencies, context, fence)
            async with _fenced(dependencies, fence, State.ENABLING) as (conn, held):
                await rows.write_interactions(conn, fence.owner_id, fence.generation, batch)
                written = held.interactions_written + len(batch)
                counted = {"interactions_written": written}
                if written == total:
                    await _end(conn, held, Action.COMPLETE_ENABLE, counted=counted)
                else:
                    await storage.count(conn, fence.owner_id, counted)
            await context.progress(written, total, "Writing interactions")
            if written < total:
                await asyncio.sleep(dependencies.pause_seconds)


async def _batches_ahead(
    spec: dataset.Spec, items: list[dataset.ContentItem], start: int, size: int
) -> AsyncGenerator[list[dataset.Interaction]]:
    """Give the interactions from position `start` on; the next batch is made in a thread while this one is written."""

    def make(first: int) -> asyncio.Task[list[dataset.Interaction]]:
        end = min(first + size, spec.interaction_count)
        return asyncio.create_task(asyncio.to_thread(_make_batch, spec, items, first, end))

    if start >= spec.interaction_count:
        return
    upcoming = make(start)
    try:
        for first in range(start + size, spec.interaction_count, size):
            batch = await upcoming
            upcoming = make(first)
            yield batch
        yield await upcoming
    finally:
        upcoming.cancel()
        await asyncio.gather(upcoming, return_exceptions=True)


def _make_batch(
    spec: dataset.Spec, items: list[dataset.ContentItem], first: int, end: int
) -> list[dataset.Interaction]:
    chunks = range(first // dataset.INTERACTION_CHUNK, (end - 1) // dataset.INTERACTION_CHUNK + 1)
    made = (row for chunk in chunks for row in dataset.interactions(spec, items, chunk))
    return [row for row in made if first <= row.position < end]


async def _remove_strays(dependencies: Dependencies, fence: Fence, mode: Mode) -> None:
    """Remove what no counter vouches for: rows of older generations, and those of an attempt that was cancelled."""
    if (fence.generation, fence.attempt) == FIRST:
        return
    removed = limit = dependencies.remove_batch
    while removed == limit:
        async with _fenced(dependencies, fence, State.ENABLING) as (conn, _):
            removed = await rows.remove_strays(
                conn,
                fence.owner_id,
                fence.generation,
                content_written=mode.content_written,
                interactions_written=mode.interactions_written,
                limit=limit,
            )


async def _stop_if_cancelled(dependencies: Dependencies, context: worker.Context, fence: Fence) -> None:
    """If asked to stop: remove what was written, leave demo mode disabled, and raise `worker.Cancelled`."""
    if not context.is_cancelled:
        return
    removed = limit = dependencies.remove_batch
    while removed == limit:
        async with _fenced(dependencies, fence, State.ENABLING) as (conn, held):
            removed = (await rows.remove(conn, fence.owner_id, limit=limit)).total
            if removed < limit:
                await _end(conn, held, Action.CANCEL_ENABLE)
            else:
                # Whatever happens from here on, no later attempt takes the rows that are left for written.
                await storage.count_nothing(conn, fence.owner_id)
    raise worker.Cancelled("requested")


async def _remove_rows(dependencies: Dependencies, context: worker.Context, fence: Fence, mode: Mode) -> Mode:
    total = mode.content_written + mode.interactions_written
    limit = dependencies.remove_batch
    while mode.state is State.DISABLING:
        await context.progress(mode.content_removed + mode.interactions_removed, total, "Removing demo data")
        async with _fenced(dependencies, fence, State.DISABLING) as (conn, held):
            if context.is_cancelled:
                mode = await _end(conn, held, Action.FAIL, error=domain.CANCELLED)
                break
            removed = await rows.remove(conn, fence.owner_id, limit=limit)
            counted = {
                "content_removed": held.content_removed + removed.content,
                "interactions_removed": held.interactions_removed + removed.interactions,
            }
            if removed.total < limit:
                mode = await _end(conn, held, Action.COMPLETE_DISABLE, counted=counted)
            else:
                mode = await storage.count(conn, fence.owner_id, counted)
        if mode.state is State.DISABLING:
            await asyncio.sleep(dependencies.pause_seconds)
    if mode.state is State.FAILED:
        raise worker.Cancelled("requested")
    await context.progress(total, total, "Removing demo data")
    return mode


@contextlib.asynccontextmanager
async def _fenced(
    dependencies: Dependencies, fence: Fence, state: State
) -> AsyncIterator[tuple[AsyncConnection, Mode]]:
    """Open a transaction that only the attempt of the fence may have, in this state. Raises `worker.Cancelled`."""
    async with dependencies.engine.begin() as conn:
        if (held := await storage.hold(conn, fence, state)) is None:
            raise worker.Cancelled("superseded")
        yield conn, held


@contextlib.contextmanager
def _telling(dependencies: Dependencies) -> Iterator[None]:
    """Say at the end, whichever it is, that something waits in the outbox: the last transaction has moved the state on."""
    try:
        yield
    finally:
        dependencies.committed()


async def _end(
    conn: AsyncConnection,
    held: Mode,
    action: Action,
    *,
    counted: Mapping[str, int] | None = None,
    error: domain.Error | None = None,
) -> Mode:
    """Move the state on in a fenced transaction, together with its last counters."""
    if (mode := await storage.close(conn, held, action, error=error, counted=counted)) is None:
        raise worker.Cancelled("superseded")
    await announcements.announce(conn, mode, action)
    return mode


def _fence(context: worker.Context) -> Fence:
    return Fence(
        owner_id=UUID(context.owner_id),
        job_id=UUID(context.job_id),
        generation=convert.generation(context.payload),
        attempt=context.attempt,
    )
