"""Open-loop load: requests arrive on schedule, however long earlier ones take."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

DEADLINE_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    durations: list[float]
    """Duration of each successful action in seconds."""
    failures: list[Exception]


async def offer(action: Callable[[int], Awaitable[object]], *, rate: float, count: int) -> Offered:
    """Start `action(0)` to `action(count - 1)` as a Poisson process of `rate` per second, the same in every run. Wait for all."""
    durations: list[float] = []
    failures: list[Exception] = []

    async def measured(index: int) -> None:
        try:
            durations.append(await _timed(action(index)))
        except Exception as error:  # noqa: BLE001 - the load goes on, and the report counts it
            failures.append(error)

    start = time.perf_counter()
    async with asyncio.timeout(count / rate + DEADLINE_SECONDS), asyncio.TaskGroup() as tasks:
        for index, offset in enumerate(_arrivals(rate, count)):
            await asyncio.sleep(start + offset - time.perf_counter())
            tasks.create_task(measured(index))
    return Offered(durations=durations, failures=failures)


async def each(action: Callable[[int], Awaitable[object]], *, count: int, at_once: int) -> list[float]:
    """Run `action(0)` to `action(count - 1)`, `at_once` at a time. Return the duration of each."""
    durations = [0.0] * count
    indexes = iter(range(count))

    async def work() -> None:
        for index in indexes:
            durations[index] = await _timed(action(index))

    async with asyncio.TaskGroup() as tasks:
        for _ in range(at_once):
            tasks.create_task(work())
    return durations


async def _timed(action: Awaitable[object]) -> float:
    """Return the duration of `action` in seconds."""
    began = time.perf_counter()
    await action
    return time.perf_counter() - began


def _arrivals(rate: float, count: int) -> Iterator[float]:
    gaps = random.Random(1)
    offset = 0.0
    for _ in range(count):
        offset += gaps.expovariate(rate)
        yield offset
