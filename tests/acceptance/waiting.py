"""Waits for a condition by polling, with a bound."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

LOOK_SECONDS = 0.05


async def until(probe: Callable[[], Awaitable[T | None]], condition: str, *, seconds: float = 60.0) -> T:
    """Poll `probe` until its result is true; return it. Fail after `seconds`, naming `what`."""
    try:
        async with asyncio.timeout(seconds):
            while not (result := await probe()):
                await asyncio.sleep(LOOK_SECONDS)
            return result
    except TimeoutError:
        raise AssertionError(f"not within {seconds:g} s: {condition}") from None
