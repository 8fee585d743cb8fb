"""Long conversions that let other tasks of the event loop run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

SLICE_SECONDS = 0.01
"""Other tasks run at least this often, if no single item takes longer."""


async def convert(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Return `function(item)` for each item, in order."""
    results = []
    ends_at = time.monotonic() + SLICE_SECONDS
    for item in items:
        results.append(function(item))
        if time.monotonic() > ends_at:
            await asyncio.sleep(0)
            ends_at = time.monotonic() + SLICE_SECONDS
    return results
