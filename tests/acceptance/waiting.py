"""Waits for a condition by polling, with a bound."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

LOOK_SECONDS = 0.02
SLOWEST_LOOK_SECONDS = 0.15
"""Pauses grow up to this: most conditions are asked for over HTTP, and take the system time from what it is waited for."""
PROBE_SECONDS = 10.0
"""Time for a probe that has begun within the wait: on a busy machine even a short wait completes one."""


async def until(probe: Callable[[], Awaitable[T | None]], condition: str, *, seconds: float = 60.0) -> T:
    """Poll `probe` until its result is true; return it. Fail after `seconds`, naming the condition."""
    loop, pause = asyncio.get_running_loop(), LOOK_SECONDS
    ends_at = loop.time() + seconds
    try:
        while True:
            async with asyncio.timeout_at(max(ends_at, loop.time() + PROBE_SECONDS)):
                if result := await probe():
                    return result
            async with asyncio.timeout_at(ends_at):
                await asyncio.sleep(pause)
            pause = min(pause * 1.5, SLOWEST_LOOK_SECONDS)
    except TimeoutError:
        raise AssertionError(f"not within {seconds:g} s: {condition}") from None
