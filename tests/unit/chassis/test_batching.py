"""Batcher: concurrent calls share a batch, and each caller gets its own result."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from chassis import errors
from chassis.batching import Batcher


class Calls:
    """Records batches; each blocks until it is released."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.go = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self, items: list[int]) -> Sequence[int | Exception]:
        self.batches.append(items)
        await self.go.wait()
        if self.error:
            raise self.error
        return [errors.NotFound(str(item)) if item < 0 else item * 10 for item in items]


async def begin(batcher: Batcher[int, int], *items: int) -> list[asyncio.Task[int]]:
    """Submit all items, and let their tasks start."""
    calls_made = [asyncio.create_task(batcher(item)) for item in items]
    for _ in range(3):
        await asyncio.sleep(0)
    return calls_made


async def test_first_item_is_sent_at_once_and_the_others_together() -> None:
    calls = Calls()
    batcher = Batcher(calls, size=lambda _: 1)
    calls_made = await begin(batcher, 1)
    calls_made += await begin(batcher, 2)
    calls_made += await begin(batcher, 3, -4)
    calls.go.set()
    answers = await asyncio.gather(*calls_made, return_exceptions=True)
    assert calls.batches == [[1], [2, 3, -4]]
    assert answers[:3] == [10, 20, 30]
    assert isinstance(answers[3], errors.NotFound)


@pytest.mark.parametrize("bounds", [{"max_items": 2}, {"max_bytes": 25}])
async def test_call_is_bounded(bounds: dict[str, int]) -> None:
    calls = Calls()
    batcher = Batcher(calls, size=lambda _: 10, **bounds)
    calls_made = await begin(batcher, *range(5))
    calls.go.set()
    assert await asyncio.gather(*calls_made) == [0, 10, 20, 30, 40]
    assert calls.batches == [[0, 1], [2, 3], [4]]


async def test_oversized_item_is_sent_alone() -> None:
    calls = Calls()
    calls.go.set()
    batcher = Batcher(calls, size=lambda item: item, max_bytes=10)
    calls_made = await begin(batcher, 1, 100, 1)
    assert await asyncio.gather(*calls_made) == [10, 1000, 10]
    assert calls.batches == [[1], [100], [1]]


async def test_each_caller_gets_its_own_error() -> None:
    calls = Calls()
    calls.go.set()
    calls.error = errors.Unavailable(code="jobs_unavailable")
    calls_made = await begin(Batcher(calls, size=lambda _: 1), 1, 2)
    answers = await asyncio.gather(*calls_made, return_exceptions=True)
    assert [getattr(answer, "code", "") for answer in answers] == ["jobs_unavailable"] * 2
    assert answers[0] is not answers[1]


async def test_item_cancelled_before_the_call_is_not_sent() -> None:
    calls = Calls()
    batcher = Batcher(calls, size=lambda _: 1)
    first, *others = (*(await begin(batcher, 1)), *(await begin(batcher, 2, 3)))
    others[0].cancel()
    first.cancel()
    calls.go.set()
    assert await others[1] == 30
    assert calls.batches == [[1], [3]]


async def test_items_beyond_the_bound_wait() -> None:
    calls = Calls()
    batcher = Batcher(calls, size=lambda _: 1, capacity=2)
    calls_made = await begin(batcher, 1, 2, 3)
    calls.go.set()
    assert await asyncio.gather(*calls_made) == [10, 20, 30]
    assert calls.batches == [[1, 2], [3]]


async def test_caller_that_calls_again_at_once_gets_a_result() -> None:
    calls = Calls()
    calls.go.set()
    batcher = Batcher(calls, size=lambda _: 1)
    async with asyncio.timeout(60):
        for item in range(100):
            assert await batcher(item) == item * 10
