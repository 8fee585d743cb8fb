"""Waits for a condition by polling, with a bound."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

LOOK_SECONDS = 0.02
SLOWEST_LOOK_SECONDS = 0.15
"""Pauses grow up to this: most conditions are asked for over HTTP, and take the system time from what it is waited for."""


async def until(probe: Callable[[], Awaitable[T | None]], condition: str, *, seconds: float = 60.0) -> T:
    """Poll `probe` until its result is true; return it. Fail after `seconds`, naming the condition."""
    try:
        async with asyncio.timeout(seconds):
            pause = LOOK_SECONDS
            while not (result := await probe()):
                await asyncio.sleep(pause)
                pause = min(pause * 1.5, SLOWEST_LOOK_SECONDS)
            return result
    except TimeoutError:
        raise AssertionError(f"not within {seconds:g} s: {condition}") from None
