"""The handlers of the jobs `demo.enable` and `demo.disable`: rows in bulk, every write fenced, every write with its counters.

Counters change in the transaction that writes or removes the rows they count. So a superseded attempt can write
nothing, and the next one continues exactly where it stopped.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

import worker
from chassis import outbox
from lifecycle import attempts
from services.demo import dataset, domain, options, rows, storage
from services.demo.declaration import DEMO_MODE
from services.demo.domain import Action, Mode, State
from services.demo.storage import NO_COUNTS

logger = logging.getLogger(__name__)

WRITE_BATCH = 5_000
REMOVE_BATCH = 5_000
PAUSED_BATCH = 100
"""Rows per transaction while there is a pause between them, so that progress can be watched."""

MAX_SMALL_ROWS = 200
"""Rows that the event loop makes, and one transaction writes, within milliseconds."""
WRITING = "Writing interactions"

FencedAttempt = attempts.FencedAttempt[Mode, Action]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependencies:
    """The collaborators and settings of the handlers."""

    engine: AsyncEngine
    relay: outbox.Relay
    write_batch: int = WRITE_BATCH
    remove_batch: int = REMOVE_BATCH
    pause_seconds: float = 0.0
    failing: frozenset[str] = frozenset()
    """Kinds whose handlers fail on purpose."""


async def enable(dependencies: Dependencies, context: worker.Context) -> dict[str, Any]:
    """Write the rows that the options ask for, and make them visible."""
    attempt = FencedAttempt(DEMO_MODE, dependencies.engine, dependencies.relay, context)
    mode = await _write_at_once(dependencies, context, attempt)
    if mode is None:
        async with attempt.begin() as tx:
            mode, is_done = tx.resource, tx.is_done
        if not is_done:
            _fail_if_configured(dependencies, attempt)
            await _remove_uncounted_rows(dependencies, attempt, mode)
            await _write_rows(dependencies, context, attempt, mode)
    spec = options.spec(mode)
    await context.progress(spec.interaction_count, spec.interaction_count, WRITING)
    return {
        "profile_type": spec.profile_type,
        "niche": spec.niche,
        "content_count": spec.content_count,
        "interaction_count": spec.interaction_count,
    }


async def disable(dependencies: Dependencies, context: worker.Context) -> dict[str, Any]:
    """Remove the rows, and count them."""
    attempt = FencedAttempt(DEMO_MODE, dependencies.engine, dependencies.relay, context)
    async with attempt.begin() as tx:
        mode, is_done = tx.resource, tx.is_done
    if not is_done:
        _fail_if_configured(dependencies, attempt)
        mode = await _remove_rows(dependencies, context, attempt, mode)
    return {"content_removed": mode.content_removed, "interactions_removed": mode.interactions_removed}


def _fail_if_configured(dependencies: Dependencies, attempt: FencedAttempt) -> None:
    if attempt.kind in dependencies.failing:
        logger.warning("DEMO_FAIL_HANDLERS names this kind")
        raise worker.JobFailed(
            "demo_handler_failed", "This job failed on purpose, to show what happens.", retryable=True
        )


async def _write_at_once(dependencies: Dependencies, context: worker.Context, attempt: FencedAttempt) -> Mode | None:
    """Begin, write all rows and complete in one transaction: a small data set is done before progress matters.

    None if the data set is too large, or a pause, a cancel or a configured failure needs separate steps. A cancel request
    that arrives during the write rolls everything back.
    """
    needs_steps = dependencies.pause_seconds or context.is_cancelled or attempt.kind in dependencies.failing
    if needs_steps or not _is_first(attempt):
        return None
    limit = {"most_rows": min(MAX_SMALL_ROWS, dependencies.write_batch)}
    async with attempt.begin_with_transition(Action.COMPLETE_ENABLE, storage.COMPLETE_SMALL_ENABLE, limit) as tx:
        if tx is None:
            return None
        mode = tx.resource
        spec = options.spec(mode)
        items = dataset.content(spec)
        interactions = _make_batch(spec, items, 0, spec.interaction_count) if spec.interaction_count else []
        await tx.store(rows.INSERT_SMALL, rows.small_parameters(mode.owner_id, mode.generation, items, interactions))
        if context.is_cancelled:
            raise worker.Cancelled("requested")
    return mode


def _is_first(attempt: FencedAttempt) -> bool:
    """Return whether this is an owner's very first attempt. Before it there are no rows."""
    return (attempt.fence.generation, attempt.fence.attempt) == (1, 1)


async def _write_rows(dependencies: Dependencies, context: worker.Context, attempt: FencedAttempt, mode: Mode) -> None:
    spec = options.spec(mode)
    total = spec.interaction_count
    if context.attempt > 1:
        context.log.info("resuming", extra={"interactions_written": mode.interactions_written})
    await context.progress(mode.interactions_written, total, "Writing content")
    items = await asyncio.to_thread(dataset.content, spec)
    if mode.content_written < len(items):
        await _stop_if_cancelled(dependencies, context, attempt)
        async with attempt.fenced() as tx:
            unwritten = items[tx.resource.content_written :]
            await rows.write_content(tx.conn, mode.owner_id, mode.generation, unwritten)
            if total == 0:
                await tx.move(Action.COMPLETE_ENABLE)
            else:
                await tx.update({"content_written": len(items)})
    elif mode.interactions_written == total:
        # The job failed after its last write, and is retried.
        async with attempt.fenced() as tx:
            await tx.move(Action.COMPLETE_ENABLE)
    batches = _batches_ahead(spec, items, mode.interactions_written, dependencies.write_batch)
    async with contextlib.aclosing(batches):
        async for batch in batches:
            await _stop_if_cancelled(dependencies, context, attempt)
            async with attempt.fenced() as tx:
                await rows.write_interactions(tx.conn, mode.owner_id, mode.generation, batch)
                written = tx.resource.interactions_written + len(batch)
                if written == total:
                    await tx.move(Action.COMPLETE_ENABLE)
                else:
                    await tx.update({"interactions_written": written})
            await context.progress(written, total, WRITING)
            if written < total:
                await asyncio.sleep(dependencies.pause_seconds)


async def _batches_ahead(
    spec: dataset.Spec, items: list[dataset.ContentItem], start: int, size: int
) -> AsyncGenerator[list[dataset.Interaction]]:
    """Yield the interactions from position `start` on. A thread makes the next batch while this one is written."""

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
    interactions = (row for chunk in chunks for row in dataset.interactions(spec, items, chunk))
    return [row for row in interactions if first <= row.position < end]


async def _remove_uncounted_rows(dependencies: Dependencies, attempt: FencedAttempt, mode: Mode) -> None:
    """Remove rows that no counter counts: of older generations, and of an attempt that was cancelled."""
    if _is_first(attempt):
        return
    count = limit = dependencies.remove_batch
    while count == limit:
        async with attempt.fenced() as tx:
            count = await rows.remove_uncounted_rows(
                tx.conn,
                mode.owner_id,
                mode.generation,
                content_written=mode.content_written,
                interactions_written=mode.interactions_written,
                limit=limit,
            )


async def _stop_if_cancelled(dependencies: Dependencies, context: worker.Context, attempt: FencedAttempt) -> None:
    """If asked to stop, remove the rows, leave demo mode disabled, and raise `worker.Cancelled`."""
    if not context.is_cancelled:
        return
    count = limit = dependencies.remove_batch
    while count == limit:
        async with attempt.fenced() as tx:
            count = (await rows.remove(tx.conn, tx.resource.owner_id, limit=limit)).total
            if count < limit:
                await tx.move(Action.CANCEL_ENABLE)
            else:
                # If this attempt dies now, no later one counts the remaining rows as written.
                await tx.update(NO_COUNTS)
    raise worker.Cancelled("requested")


async def _remove_rows(dependencies: Dependencies, context: worker.Context, attempt: FencedAttempt, mode: Mode) -> Mode:
    total = mode.content_written + mode.interactions_written
    limit = dependencies.remove_batch
    while mode.state is State.DISABLING:
        await context.progress(mode.content_removed + mode.interactions_removed, total, "Removing sample data")
        async with attempt.fenced() as tx:
            if context.is_cancelled:
                mode = await tx.move(Action.FAIL, error=domain.CANCELLED)
                break
            removed = await rows.remove(tx.conn, mode.owner_id, limit=limit)
            counts = {
                "content_removed": tx.resource.content_removed + removed.content,
                "interactions_removed": tx.resource.interactions_removed + removed.interactions,
            }
            if removed.total < limit:
                mode = await tx.move(Action.COMPLETE_DISABLE, counts)
            else:
                mode = await tx.update(counts)
        if mode.state is State.DISABLING:
            await asyncio.sleep(dependencies.pause_seconds)
    if mode.state is State.FAILED:
        raise worker.Cancelled("requested")
    await context.progress(total, total, "Removing sample data")
    return mode
