"""Waits for a condition by polling, with a bound."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

Found = TypeVar("Found")

LOOK_SECONDS = 0.05


async def until(look: Callable[[], Awaitable[Found | None]], what: str, *, seconds: float = 30.0) -> Found:
    """Return the first thing found that is not None, False or empty. Fails naming `what` after `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            while not (found := await look()):
                await asyncio.sleep(LOOK_SECONDS)
            return found
    except TimeoutError:
        raise AssertionError(f"not within {seconds:g} s: {what}") from None
