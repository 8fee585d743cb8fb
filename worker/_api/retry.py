"""Waiting out what is nobody's fault: a part of the system that does not answer."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

from chassis import errors

T = TypeVar("T")

FIRST_SECONDS = 0.2
MOST_SECONDS = 2.0


def backoff(first: float = FIRST_SECONDS, most: float = MOST_SECONDS) -> Iterator[float]:
    """Give growing pauses with jitter, in seconds, without end."""
    pause = first
    while True:
        yield pause * random.uniform(0.5, 1.0)  # noqa: S311
        pause = min(pause * 2, most)


async def retry_while_unavailable(call: Callable[[], Awaitable[T]]) -> T:
    """Call until it is answered. Only for calls that may be repeated; what bounds them is the attempt's timeout."""
    for pause in backoff():
        try:
            return await call()
        except errors.Unavailable:
            await asyncio.sleep(pause)
    raise AssertionError("pauses never end")
