"""Limits the concurrent calls of one user: further calls wait before they take a database connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from chassis import errors

MAX_RUNNING = 4
"""Calls of one user that run at once: less than half of the transactions of a process, whose pool has ten or more."""
MAX_WAITING = 100
RETRY_SECONDS = 1


@dataclass(slots=True)
class _Share:
    places: asyncio.Semaphore
    calls: int = 0


class Shares:
    """The shares of the users that have calls now."""

    def __init__(self, *, running: int = MAX_RUNNING, waiting: int = MAX_WAITING) -> None:
        """Let `running` calls of a user run at once, and `waiting` further ones wait."""
        self._running = running
        self._waiting = waiting
        self._by_user: dict[str, _Share] = {}

    def is_busy(self, user_id: str) -> bool:
        """Return whether a further call of a user would wait."""
        share = self._by_user.get(user_id)
        return share is not None and share.calls >= self._running

    @asynccontextmanager
    async def place(self, user_id: str) -> AsyncIterator[None]:
        """Wait until the call of a user may run. Raises `ResourceExhausted` `too_many_calls`, with a retry time."""
        share = self._by_user.setdefault(user_id, _Share(asyncio.Semaphore(self._running)))
        if share.calls >= self._running + self._waiting:
            details = {"retry_after_seconds": str(RETRY_SECONDS)}
            raise errors.ResourceExhausted("Too many requests at once.", code="too_many_calls", details=details)
        share.calls += 1
        try:
            async with share.places:
                yield
        finally:
            share.calls -= 1
            if not share.calls:
                del self._by_user[user_id]
