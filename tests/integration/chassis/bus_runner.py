"""A bus that runs, and a handler that records what it receives."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from chassis import bus, run

Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]


class Recorder:
    """Records received messages; fails as often as configured."""

    def __init__(self, failures: int = 0) -> None:
        self.payloads: list[bytes] = []
        self.ids: list[str] = []
        self._failures = failures

    async def __call__(self, received: bus.Received) -> None:
        self.ids.append(received.message_id)
        if len(self.ids) <= self._failures:
            raise ConnectionError("the database does not answer")
        self.payloads.append(received.payload)

    def has(self, *payloads: bytes) -> Callable[[], Awaitable[bool]]:
        async def check() -> bool:
            return set(payloads) <= set(self.payloads)

        return check


def connected(tested_bus: bus.Bus) -> Callable[[], Awaitable[bool]]:
    """Whether the bus has a connection, its streams and its subscriptions, and all callbacks know of it."""

    async def check() -> bool:
        return tested_bus.is_caught_up

    return check


@asynccontextmanager
async def running(tested_bus: bus.Bus, eventually: Eventually) -> AsyncIterator[Callable[[], Awaitable[bool]]]:
    """Run the bus. Wait until it is connected; yield the probe for that."""
    is_connected = connected(tested_bus)
    async with run.Background() as background:
        background.start("bus", tested_bus.run)
        await eventually(is_connected)
        yield is_connected
