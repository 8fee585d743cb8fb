"""The adaptive limit of concurrent requests."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from gateway import problems
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
    waiting = asyncio.ensure_future(limit.acquire())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    in_flight = limit.in_flight
    limit.release(FAST)
    assert limit.in_flight == in_flight - 1


class Held:
    """An application that answers POST only after `let_go`."""

    def __init__(self) -> None:
        self.count = 0
        self.let_go = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.count += 1
        if scope["method"] == "POST":
            await self.let_go.wait()
        await PlainTextResponse("")(scope, receive, send)


async def status_of(app: overload.Overload, method: str, path: str) -> int:
    statuses: list[int] = []

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    async def receive() -> Message:
        raise AssertionError("nothing reads the body")

    await app({"type": "http", "method": method, "path": path, "headers": []}, receive, send)
    return statuses[0]


@pytest.mark.parametrize(
    "path",
    [
        "/login",
        "/register",
        "/reset-password",
        "/reauthenticate",
        "/settings/security/password",
        "/api/v1/auth/token",
        "/api/v1/auth/password",
        "/api/auth/login",
    ],
)
async def test_flood_of_sign_ins_takes_no_place_from_other_requests(path: str) -> None:
    held = Held()
    app = overload.Overload(held, responder=problems.ErrorResponder())
    flood: list[Awaitable[int]] = [asyncio.ensure_future(status_of(app, "POST", path)) for _ in range(500)]
    await asyncio.sleep(0)
    # All places for passwords are taken, and the queue is full.
    assert held.count == overload.PASSWORD_LIMIT
    assert await status_of(app, "POST", path) == 503
    for other in ("/api/v1/auth/me", "/", path):
        assert [await status_of(app, "GET", other) for _ in range(50)] == [200] * 50
    held.let_go.set()
    statuses = await asyncio.gather(*flood)
    # Those in the queue are refused if the requests above have taken longer than the wait.
    assert overload.PASSWORD_LIMIT <= statuses.count(200) <= overload.PASSWORD_LIMIT + overload.MAX_LIMIT
    assert set(statuses) == {200, 503}


async def test_time_to_send_a_response_takes_no_place_and_does_not_shrink_the_limit() -> None:
    head_sent = asyncio.Event()

    async def never(message: Message) -> None:
        head_sent.set()
        await asyncio.Event().wait()

    app = overload.Overload(PlainTextResponse("file"), responder=problems.ErrorResponder())
    scope = {"type": "http", "method": "GET", "path": "/api/v1/exports/file", "headers": []}
    slow = [asyncio.ensure_future(app(scope, asyncio.Event().wait, never)) for _ in range(overload.INITIAL_LIMIT)]  # type: ignore[arg-type]
    await head_sent.wait()
    assert await status_of(app, "GET", "/api/v1/auth/me") == 200
    for each in slow:
        each.cancel()
    await asyncio.gather(*slow, return_exceptions=True)
    assert await status_of(app, "GET", "/api/v1/auth/me") == 200
