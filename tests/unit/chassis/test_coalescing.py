"""Calls that come at once are made one; none waits for nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from chassis import coalescing, errors


async def test_what_comes_while_a_call_is_under_way_goes_together_in_the_next_one() -> None:
    calls: list[list[int]] = []

    async def flush(items: Sequence[int]) -> list[int]:
        calls.append(list(items))
        await asyncio.sleep(0)
        return [item * 10 for item in items]

    coalesced = coalescing.Coalescer(flush, most=3)
    assert await asyncio.gather(*map(coalesced, range(7))) == [0, 10, 20, 30, 40, 50, 60]
    assert [item for call in calls for item in call] == list(range(7))
    assert max(map(len, calls)) == 3


async def test_a_caller_that_calls_again_at_once_is_answered() -> None:
    async def flush(items: Sequence[int]) -> Sequence[int]:
        return items

    coalesced = coalescing.Coalescer(flush, most=10, at_once=1)
    async with asyncio.timeout(5):
        for item in range(100):
            assert await coalesced(item) == item


async def test_an_error_is_its_callers_or_everybodys() -> None:
    async def flush(items: Sequence[int]) -> Sequence[int | Exception]:
        if 13 in items:
            raise errors.Unavailable
        return [errors.NotFound() if item < 0 else item for item in items]

    coalesced = coalescing.Coalescer(flush, most=10)
    found = await asyncio.gather(*map(coalesced, (1, -1, 2)), return_exceptions=True)
    assert [type(result) for result in found] == [int, errors.NotFound, int]
    found = await asyncio.gather(*map(coalesced, (1, 13)), return_exceptions=True)
    assert [type(result) for result in found] == [errors.Unavailable] * 2
    with pytest.raises(errors.NotFound):
        await coalesced(-5)
