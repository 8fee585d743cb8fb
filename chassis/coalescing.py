"""Many calls at once made one: what comes while a call is under way goes together in the next one; no timers."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from chassis import errors

Item = TypeVar("Item")
Result = TypeVar("Result")


class Coalescer(Generic[Item, Result]):
    """Calls `flush` with the items of many callers; each caller gets its own result."""

    def __init__(
        self,
        flush: Callable[[Sequence[Item]], Awaitable[Sequence[Result | Exception]]],
        *,
        most: int,
        at_once: int = 1,
        waiting: int = 10_000,
    ) -> None:
        """`flush` takes up to `most` items and gives a result or an exception for each, in their order; it may raise for all.

        Up to `at_once` calls of it are under way. More than `waiting` items at a time are refused.
        """
        self._flush = flush
        self._most = most
        self._at_once = at_once
        self._limit = waiting
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._calls: set[asyncio.Task[None] | None] = set()

    async def __call__(self, item: Item) -> Result:
        """Give the result of this item. Raises `ResourceExhausted` when too many wait."""
        if len(self._waiting) >= self._limit:
            raise errors.ResourceExhausted("Too much at once; try again.", code="overloaded")
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if len(self._calls) < self._at_once:
            # Its own task: a caller that gives up must not take the others with it.
            call = asyncio.create_task(self._run())
            self._calls.add(call)
        return await future

    async def _run(self) -> None:
        try:
            await self._flush_waiting()
        finally:
            # Not by a callback: until that runs, a caller which has just got its result would find this call under way still,
            # and wait for nobody.
            self._calls.discard(asyncio.current_task())

    async def _flush_waiting(self) -> None:
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]
            results: Sequence[Result | Exception]
            try:
                results = await self._flush([item for item, _ in batch])
            except Exception as error:  # noqa: BLE001 - it is raised in every caller
                results = [error] * len(batch)
            except BaseException:
                for _, future in batch:
                    future.cancel()
                raise
            for (_, future), result in zip(batch, results, strict=True):
                if future.done():
                    continue
                if isinstance(result, Exception):
                    future.set_exception(result)
                else:
                    future.set_result(result)
