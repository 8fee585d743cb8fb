"""Retries a failed batch in smaller parts, so that one bad item does not fail the others."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar
from uuid import UUID

from psycopg.errors import DeadlockDetected, LockNotAvailable
from sqlalchemy.exc import DBAPIError

from chassis import errors, postgres

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")
Call = Callable[[Sequence[Item]], Awaitable[Sequence[Result | errors.Error]]]
OwnersOf = Callable[[Sequence[Item]], Awaitable[Sequence[UUID | None]]]

PARALLEL = 4
"""Parts of a batch that run at once; each takes a connection and may wait for a lock."""
STILL_SECONDS = 0.2
"""When no part has ended for this long, the remaining ones wait for a lock."""

_waiting: set[asyncio.Task[None]] = set()


async def run(
    call: Call[Item, Result], items: Sequence[Item], owners_of: OwnersOf[Item]
) -> Sequence[Result | errors.Error]:
    """Call with all items; if one of them makes the call fail, call with parts. Return the result or error of each item.

    After a wait for a lock the parts are the items of each owner: another transaction holds the rows of one of them. The parts
    that then still wait get `Unavailable`, and end in the background. When an item is refused, each item is a part. `call` is one
    idempotent transaction. Raises the error if the database does not answer, or if the batch has one part only.
    """
    try:
        return await call(items)
    except Exception as error:
        if is_contended(error):
            parts = _by_owner(await owners_of(items))
            if len(parts) == 1 and not _is_deadlock(error):
                raise _contended() from error
        elif len(items) == 1 or is_unavailable(error):
            raise
        else:
            parts = [[position] for position in range(len(items))]
    room = asyncio.Semaphore(PARALLEL)
    results: dict[int, Result | errors.Error] = {}

    async def run_part(part: list[int]) -> None:
        async with room:
            part_items = [items[position] for position in part]
            results.update(zip(part, await _run_part(call, part_items), strict=True))

    pending = {asyncio.create_task(run_part(part)) for part in parts}
    while pending:
        done, pending = await asyncio.wait(pending, timeout=STILL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            break
    _waiting.update(pending)
    for task in pending:
        task.add_done_callback(_waiting.discard)
    return [results.get(position) or _contended() for position in range(len(items))]


def is_contended(error: Exception) -> bool:
    """Return whether a transaction failed because another one held a lock."""
    return isinstance(error, DBAPIError) and isinstance(error.orig, LockNotAvailable | DeadlockDetected)


async def _run_part(call: Call[Item, Result], items: Sequence[Item]) -> Sequence[Result | errors.Error]:
    try:
        return await call(items)
    except Exception as error:  # noqa: BLE001 - every error is reported to the callers
        if len(items) > 1 and not is_unavailable(error):
            return [result for item in items for result in await _run_part(call, [item])]
        return [_as_error(error)] * len(items)


def _by_owner(owners: Sequence[UUID | None]) -> list[list[int]]:
    parts: dict[UUID | None, list[int]] = defaultdict(list)
    for position, owner in enumerate(owners):
        parts[owner].append(position)
    return list(parts.values())


def _contended() -> errors.Unavailable:
    return errors.Unavailable("Another transaction holds this job or its owner. Try again.", code="contended")


def _is_deadlock(error: Exception) -> bool:
    return isinstance(error, DBAPIError) and isinstance(error.orig, DeadlockDetected)


def is_unavailable(error: Exception) -> bool:
    """Return whether the database does not answer, or not now."""
    return isinstance(error, errors.Unavailable | TimeoutError) or postgres.translate(error) is not None


def _as_error(error: Exception) -> errors.Error:
    if isinstance(error, errors.Error):
        return error
    if (translated := postgres.translate(error)) is not None:
        return translated
    logger.error("the database refused an item", exc_info=error)
    return errors.Internal("Something went wrong on our side.")
