"""One call for what many ask for at the same time."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import math
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from chassis import errors

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_ITEMS = 1_000
MAX_BYTES = 1_000_000
"""Well below what a server takes in one message: a call that carries so much should not hold up the next one."""
CAPACITY = 10_000
BUSY_BATCH = 10
BUSY_FACTOR = 3
YIELDS_AFTER_ANSWER = 3
"""So many turns of the event loop an answer takes to reach who asked, and the next question to come here."""


def min_interval(seconds: float, items: int) -> float:
    """Give the least time between two calls, the first of which had so many items."""
    return seconds * BUSY_FACTOR if items >= BUSY_BATCH else seconds


def batches(items: Sequence[Item], *, size: Callable[[Item], int]) -> Iterator[list[Item]]:
    """Cut what came together into as many as one call can take, in order; `size` gives an item's bytes."""
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


class Batcher(Generic[Item, Result]):
    """Sends items by one call at a time: the first at once, those that come while it is under way together in the next.

    So an idle caller waits for nobody, and a busy one makes few calls. At most `CAPACITY` items wait;
    whoever brings more waits for room.
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
        """`call` answers each item in order, or raises for all of them; `size` gives an item's bytes,
        where only their number would not bound a call.

        Calls start at least `min_interval` seconds apart unless a batch is full. After a batch of
        `BUSY_BATCH` or more the interval grows by `BUSY_FACTOR`: under load, fewer calls beat faster ones.

        With `max_wait`, pending items are sent after that many seconds even while an earlier call is still under way, so one call
        that does not return delays nobody else.
        """
        self._call = call
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
        """Send the item and give its own answer, or raise its own error.

        Cancelled before it was sent, it is not sent; cancelled later, its answer is dropped.
        """
        async with self._room:
            asked: _Pending[Item, Result] = _Pending(item, self._size(item), asyncio.get_running_loop().create_future())
            self._waiting.append(asked)
            if self._sending is None:
                # In a context of its own: what is known of the first caller must not stick to the others' calls.
                self._sending = asyncio.create_task(self._send(), context=contextvars.Context())
            return await asked.answer

    async def _send(self) -> None:
        try:
            while self._waiting:
                await self._keep_apart()
                if batch := self._next_batch():
                    self._called_with = len(batch)
                    await self._send_within_max_wait(batch)
                # Whoever was answered may ask again at once: together with those who waited, not always one call behind them.
                for _ in range(YIELDS_AFTER_ANSWER):
                    await asyncio.sleep(0)
        finally:
            # Otherwise only when this task was cancelled: nobody shall wait for what will not come.
            for asked in self._waiting:
                asked.answer.cancel()
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
            asked = self._waiting[0]
            if batch and total + asked.size > self._max_bytes:
                break
            self._waiting.popleft()
            if not asked.answer.done():
                batch.append(asked)
                total += asked.size
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
            for asked, answer in zip(batch, answers, strict=True):
                if asked.answer.done():
                    continue
                if isinstance(answer, Exception):
                    asked.answer.set_exception(answer)
                else:
                    asked.answer.set_result(answer)
        finally:
            # As above: who has an answer keeps it.
            for asked in batch:
                asked.answer.cancel()

    async def _answers(self, batch: list[_Pending[Item, Result]]) -> Sequence[Result | Exception]:
        try:
            answers = await self._call([asked.item for asked in batch])
        except Exception as error:  # noqa: BLE001 - every caller gets it
            # Copies of what is known to be copyable: each caller adds its own traceback.
            return [copy.copy(error) if isinstance(error, errors.Error) else error for _ in batch]
        if len(answers) != len(batch):
            return [RuntimeError(f"{len(answers)} answers to {len(batch)} items") for _ in batch]
        return answers
