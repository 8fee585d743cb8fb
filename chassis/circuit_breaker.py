"""Circuit breakers: while a server gives no answers, few calls wait for it, and further ones fail at once.

Each call that waits has a place that others need: of the concurrent requests of a gateway, of the jobs of a worker. Without a
breaker, calls to a frozen server would hold all places.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from chassis import errors

logger = logging.getLogger(__name__)

MAX_TRIES = 2
"""Calls of open operations of a server at once."""


class CircuitBreaker:
    """Opens an operation when a call gets no answer in time, and closes it when one is answered, even by an error."""

    def __init__(
        self,
        server: str,
        *,
        max_tries: int = MAX_TRIES,
        max_tries_per_user: int = 1,
        silence: tuple[type[Exception], ...] = (TimeoutError,),
    ) -> None:
        """`server` names it in the log; `silence` are the errors of calls that were not answered in time."""
        self._server = server
        self._max_tries = max_tries
        self._max_tries_per_user = max_tries_per_user
        self._silence = silence
        self._open: set[str] = set()
        # The user and the operation of each try that waits.
        self._tries: set[tuple[object, str]] = set()

    @contextmanager
    def call(self, operation: str = "", user: str = "") -> Iterator[None]:
        """Admit a call; `user` is empty for a call without one. Raises `Unavailable` if too many calls wait already.

        An open operation admits one call of a user at a time. The limits count the calls of all open operations together: a user
        whose calls alone get no answers does not keep those of others from closing an operation.
        """
        is_try = operation in self._open
        key = (user or object(), operation)
        if is_try:
            if not self._has_room(key):
                raise errors.Unavailable()
            self._tries.add(key)
        try:
            yield
        except self._silence:
            if operation not in self._open:
                self._open.add(operation)
                logger.warning("a server does not answer", extra={"server": self._server, "operation": operation})
            raise
        except Exception as error:
            # A call of ours that reached nobody has this code.
            if not (isinstance(error, errors.Unavailable) and error.code == errors.Unavailable.default_code):
                self._open.discard(operation)
            raise
        else:
            self._open.discard(operation)
        finally:
            if is_try:
                self._tries.discard(key)

    def _has_room(self, key: tuple[object, str]) -> bool:
        of_user = sum(user == key[0] for user, _ in self._tries)
        return key not in self._tries and of_user < self._max_tries_per_user and len(self._tries) < self._max_tries
