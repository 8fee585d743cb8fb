"""The circuit breaker of a service: while rpcs get no answers, few requests wait for them.

Each request that waits has a place of the limit of concurrent requests (`middleware.overload`). Without the breaker, requests
for a frozen service would hold all places, and the gateway would refuse those for other services too.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from chassis import errors

logger = logging.getLogger(__name__)

MAX_TRIES = 8
"""Calls of open rpcs of a service at once. Half of the smallest limit of concurrent requests."""
MAX_TRIES_PER_USER = 4
"""As many as a page makes at once: it is complete on the first load after an outage."""


class CircuitBreaker:
    """Opens an rpc when a call gets no answer before its deadline, and closes it when one is answered, even by an error."""

    def __init__(self) -> None:
        self._open: set[str] = set()
        # The user and the rpc of each try that waits.
        self._tries: set[tuple[object, str]] = set()

    @contextmanager
    def call(self, rpc: str, user: str) -> Iterator[None]:
        """Admit a call; `user` is empty for a call without one. Raises `Unavailable` if too many calls wait already.

        An open rpc admits one call of a user at a time. The open rpcs of a service together admit four of a user and eight in
        total: a user whose calls alone get no answers does not keep those of others from closing the rpc.
        """
        is_try = rpc in self._open
        key = (user or object(), rpc)
        if is_try:
            if not self._has_room(key):
                raise errors.Unavailable()
            self._tries.add(key)
        try:
            yield
        except errors.DeadlineExceeded:
            if rpc not in self._open:
                self._open.add(rpc)
                logger.warning("rpc is not answered", extra={"rpc": rpc})
            raise
        except errors.Error as error:
            if error.code != errors.Unavailable.default_code:
                self._open.discard(rpc)
            raise
        else:
            self._open.discard(rpc)
        finally:
            if is_try:
                self._tries.discard(key)

    def _has_room(self, key: tuple[object, str]) -> bool:
        of_user = sum(user == key[0] for user, _ in self._tries)
        return key not in self._tries and of_user < MAX_TRIES_PER_USER and len(self._tries) < MAX_TRIES
