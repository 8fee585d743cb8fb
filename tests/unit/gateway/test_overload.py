"""The adaptive limit of concurrent requests."""

from __future__ import annotations

import asyncio

import pytest

from gateway.middleware import overload
from tests.unit.gateway.clock import Clock

FAST = 0.01
SLOW = overload.TARGET_SECONDS * 2


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limit(clock: Clock) -> overload.Limit:
    return overload.Limit(clock=clock)


async def fill(limit: overload.Limit) -> None:
    """Take all places."""
    while limit.in_flight < int(limit.value):
        assert await limit.acquire()


async def test_slow_responses_shrink_the_limit_once_per_response_time(limit: overload.Limit, clock: Clock) -> None:
    await fill(limit)
    clock.now += SLOW
    for _ in range(10):
        limit.release(SLOW)
    assert limit.value == overload.INITIAL_LIMIT * overload.DECREASE
    clock.now += SLOW
    limit.release(SLOW)
    assert limit.value == overload.INITIAL_LIMIT * overload.DECREASE**2


async def test_limit_never_shrinks_below_its_minimum(limit: overload.Limit, clock: Clock) -> None:
    for _ in range(100):
        assert await limit.acquire()
        clock.now += SLOW
        limit.release(SLOW)
    assert limit.value == overload.MIN_LIMIT


async def test_fast_responses_grow_a_used_limit_and_leave_an_unused_one(limit: overload.Limit) -> None:
    assert await limit.acquire()
    limit.release(FAST)
    assert limit.value == overload.INITIAL_LIMIT
    await fill(limit)
    limit.release(FAST)
    assert limit.value > overload.INITIAL_LIMIT
    for _ in range(100_000):
        await fill(limit)
        limit.release(FAST)
    assert limit.value == overload.MAX_LIMIT


async def test_response_time_of_a_sign_in_does_not_count(limit: overload.Limit, clock: Clock) -> None:
    await fill(limit)
    clock.now += SLOW
    limit.release(None)
    assert limit.value == overload.INITIAL_LIMIT


async def test_request_above_the_limit_gets_the_next_place_in_order_of_arrival(limit: overload.Limit) -> None:
    await fill(limit)
    waiting = [asyncio.ensure_future(limit.acquire()) for _ in range(3)]
    await asyncio.sleep(0)
    limit.release(FAST)
    limit.release(FAST)
    assert [await waiting[0], await waiting[1]] == [True, True]
    assert not await waiting[2]  # no place came free within the wait


async def test_requests_beyond_the_queue_are_refused_at_once(limit: overload.Limit) -> None:
    await fill(limit)
    waiting = [asyncio.ensure_future(limit.acquire()) for _ in range(overload.MAX_LIMIT)]
    await asyncio.sleep(0)
    assert not await limit.acquire()
    assert not any(await asyncio.gather(*waiting))
    limit.release(FAST)
    assert await limit.acquire()


async def test_cancelled_request_leaves_the_queue(limit: overload.Limit) -> None:
    await fill(limit)
    gone = asyncio.ensure_future(limit.acquire())
    await asyncio.sleep(0)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    in_flight = limit.in_flight
    limit.release(FAST)
    assert limit.in_flight == in_flight - 1
