"""Retries of calls to a part of the system that does not answer."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

from chassis import errors

T = TypeVar("T")

FIRST_SECONDS = 0.2
MAX_SECONDS = 2.0


def backoff(first: float = FIRST_SECONDS, maximum: float = MAX_SECONDS) -> Iterator[float]:
    """Yield growing pauses with jitter, in seconds, without end."""
    pause = first
    while True:
        yield pause * random.uniform(0.5, 1.0)  # noqa: S311
        pause = min(pause * 2, maximum)


async def retry_while_unavailable(call: Callable[[], Awaitable[T]]) -> T:
    """Repeat an idempotent call until it is answered. The timeout of the attempt bounds it."""
    for pause in backoff():
        try:
            return await call()
        except errors.Unavailable:
            await asyncio.sleep(pause)
    raise AssertionError("backoff never ends")
