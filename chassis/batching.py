"""One call for many concurrent items."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import math
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from chassis import errors, tracing

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_ITEMS = 1_000
MAX_BYTES = 1_000_000
"""Well below the limit of a server: a large call should not delay the next one."""
CAPACITY = 10_000
BUSY_BATCH = 10
BUSY_FACTOR = 3
YIELDS_AFTER_ANSWER = 3
"""Event loop iterations that a result needs to reach its caller, and the next item to come back."""


def min_interval(seconds: float, items: int) -> float:
    """Return the minimal time between the starts of two calls; the first had `items` items."""
    return seconds * BUSY_FACTOR if items >= BUSY_BATCH else seconds


def batches(items: Sequence[Item], *, size: Callable[[Item], int]) -> Iterator[list[Item]]:
    """Split items into batches that fit one call, in order; `size` returns the bytes of an item."""
    batch: list[Item] = []
    total = 0
    for item in items:
        grown = total + size(item)
        if batch and (len(batch) == MAX_ITEMS or grown > MAX_BYTES):
            yield batch
            batch, grown = [], size(item)
        batch.append(item)
        total = grown
    if batch:
        yield batch


@dataclass(slots=True)
class _Pending(Generic[Item, Result]):
    item: Item
    size: int
    answer: asyncio.Future[Result]
    position: str
    """In the trace of its caller."""


class Batcher(Generic[Item, Result]):
    """Sends items by one call at a time: the first at once, those that arrive during the call together in the next.

    An idle caller does not wait, a busy one makes few calls. At most `CAPACITY` items are pending; further callers
    wait for a free slot.
    """

    def __init__(
        self,
        call: Callable[[list[Item]], Awaitable[Sequence[Result | Exception]]],
        *,
        size: Callable[[Item], int] = lambda _: 1,
        max_items: int = MAX_ITEMS,
        max_bytes: int = MAX_BYTES,
        capacity: int = CAPACITY,
        min_interval: float = 0.0,
        max_wait: float | None = None,
    ) -> None:
        """Take the call and its limits.

        `call` returns the result of each item in order, or raises for all of them. `size` returns the bytes of an item,
        for items whose number alone does not bound a call.

        Calls start at least `min_interval` seconds apart unless a batch is full. After a batch of
        `BUSY_BATCH` or more the interval grows by `BUSY_FACTOR`: under load, fewer calls beat faster ones.

        With `max_wait`, pending items are sent after that many seconds even while an earlier call is still under way, so one call
        that does not return delays nobody else.
        """
        self._call = call
        self._name = f"batch {getattr(call, '__name__', '').strip('_')}"
        self._size = size
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._min_interval = min_interval
        self._max_wait = max_wait
        self._late: set[asyncio.Task[None]] = set()
        self._called_at = -math.inf
        self._called_with = 0
        self._room = asyncio.Semaphore(capacity)
        self._waiting: deque[_Pending[Item, Result]] = deque()
        self._sending: asyncio.Task[None] | None = None

    async def __call__(self, item: Item) -> Result:
        """Send the item and return its result, or raise its error.

        If cancelled before the call, the item is not sent; if cancelled later, its result is dropped.
        """
        async with self._room:
            pending: _Pending[Item, Result] = _Pending(
                item, self._size(item), asyncio.get_running_loop().create_future(), tracing.position()
            )
            self._waiting.append(pending)
            if self._sending is None:
                # In a new context: the identity of the first caller must not apply to the others.
                self._sending = asyncio.create_task(self._send(), context=contextvars.Context())
            return await pending.answer

    async def _send(self) -> None:
        try:
            while self._waiting:
                await self._keep_apart()
                if batch := self._next_batch():
                    self._called_with = len(batch)
                    await self._send_within_max_wait(batch)
                # Callers that got a result may send again at once: in the next call, together with those who waited.
                for _ in range(YIELDS_AFTER_ANSWER):
                    await asyncio.sleep(0)
        finally:
            # Items are left only if this task was cancelled: cancel their callers too.
            for pending in self._waiting:
                pending.answer.cancel()
            self._waiting.clear()
            self._sending = None

    async def _keep_apart(self) -> None:
        loop = asyncio.get_running_loop()
        early = self._called_at + min_interval(self._min_interval, self._called_with) - loop.time()
        if early > 0 and len(self._waiting) < self._max_items:
            await asyncio.sleep(early)
        self._called_at = loop.time()

    def _next_batch(self) -> list[_Pending[Item, Result]]:
        batch: list[_Pending[Item, Result]] = []
        total = 0
        while self._waiting and len(batch) < self._max_items:
            pending = self._waiting[0]
            if batch and total + pending.size > self._max_bytes:
                break
            self._waiting.popleft()
            if not pending.answer.done():
                batch.append(pending)
                total += pending.size
        return batch

    async def _send_within_max_wait(self, batch: list[_Pending[Item, Result]]) -> None:
        if self._max_wait is None:
            await self._send_batch(batch)
            return
        sending = asyncio.create_task(self._send_batch(batch))
        self._late.add(sending)
        sending.add_done_callback(self._late.discard)
        await asyncio.wait({sending}, timeout=self._max_wait)

    async def _send_batch(self, batch: list[_Pending[Item, Result]]) -> None:
        try:
            answers = await self._answers(batch)
            for pending, answer in zip(batch, answers, strict=True):
                if pending.answer.done():
                    continue
                if isinstance(answer, Exception):
                    pending.answer.set_exception(answer)
                else:
                    pending.answer.set_result(answer)
        finally:
            # As above; futures with a result are not affected.
            for pending in batch:
                pending.answer.cancel()

    async def _answers(self, batch: list[_Pending[Item, Result]]) -> Sequence[Result | Exception]:
        try:
            with tracing.batch(self._name, (pending.position for pending in batch)):
                answers = await self._call([pending.item for pending in batch])
        except Exception as error:  # noqa: BLE001 - every caller gets it
            # Our errors are copied, because each caller adds its own traceback.
            return [copy.copy(error) if isinstance(error, errors.Error) else error for _ in batch]
        if len(answers) != len(batch):
            return [RuntimeError(f"{len(answers)} answers to {len(batch)} items") for _ in batch]
        return answers
