"""Limits the streams and polls that begin at once: of a user, and of a process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from chassis.rpc import shares
from gateway import refusals

MAX_BEGINNING = 64
"""Of a process; further ones wait, so that the calls of a reconnecting crowd do not time out."""
MAX_BEGINNING_PER_USER = 2
"""Each may read many events."""
MAX_WAITING = 10_000
"""Of a process."""
MAX_WAITING_PER_USER = 20
"""As many as may be open."""
MAX_WAIT_SECONDS = 15.0
"""Clients take a server that is silent for longer as gone."""


class Places:
    """The places of streams and polls that begin."""

    def __init__(self) -> None:
        self._of_user = shares.Shares(running=MAX_BEGINNING_PER_USER, waiting=MAX_WAITING_PER_USER)
        self._of_process = asyncio.Semaphore(MAX_BEGINNING)
        self._waiting = 0

    @asynccontextmanager
    async def place(self, user_id: str) -> AsyncIterator[None]:
        """Wait until a stream or poll of a user may begin.

        One that waits for others of its user takes no place from other users. Raises `ResourceExhausted` if more than 22 of the
        user begin, and `Unavailable` `overloaded` if 10,000 wait or no place has come free within 15 s.
        """
        if self._waiting >= MAX_WAITING:
            raise refusals.overloaded()
        async with AsyncExitStack() as places:
            self._waiting += 1
            try:
                async with asyncio.timeout(MAX_WAIT_SECONDS):
                    await places.enter_async_context(self._of_user.place(user_id))
                    await places.enter_async_context(self._of_process)
            except TimeoutError:
                raise refusals.overloaded() from None
            finally:
                self._waiting -= 1
            yield
