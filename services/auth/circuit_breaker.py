"""Bounds the calls that wait for a server without answers: the mail server, a platform.

Each of them has a slot of its worker. A frozen server would hold all slots, and all other jobs would wait. Further calls fail at
once, as with a server that refuses connections, and are tried again later.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

logger = logging.getLogger(__name__)

MAX_TRIES = 2
"""Calls that wait at once for a server that gave no answer to the last one."""


class NoAnswer(Exception):
    """The server gave no answer to the last call, and others wait for it already."""


class CircuitBreaker:
    """Opens when a server gives no answer in time, and closes when it gives one, even an error."""

    def __init__(self, server: str, *, silence: tuple[type[Exception], ...] = ()) -> None:
        """`server` names it in the log. `silence`: errors that mean no answer, besides `TimeoutError`."""
        self._server = server
        self._silence: tuple[type[Exception], ...] = (TimeoutError, *silence)
        self._is_open = False
        self._tries = 0

    @asynccontextmanager
    async def call(self, seconds: float) -> AsyncIterator[None]:
        """Bound the call in the block. Raises `NoAnswer`, `TimeoutError`, and the errors of the call."""
        is_try = self._is_open
        if is_try and self._tries >= MAX_TRIES:
            raise NoAnswer
        self._tries += is_try
        try:
            async with asyncio.timeout(seconds):
                yield
        except self._silence:
            if not self._is_open:
                logger.warning("a server does not answer", extra={"server": self._server})
            self._is_open = True
            raise
        except Exception:
            self._is_open = False
            raise
        else:
            self._is_open = False
        finally:
            self._tries -= is_try
