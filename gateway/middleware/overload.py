"""Refuses requests early while the system is overloaded, so that those it accepts are answered in time.

A replica limits its concurrent requests, each from the arrival of its body (`body_limit`) to the head of its response: how fast
clients send and receive does not count. The limit adapts to the response times: it shrinks while requests take longer than
`TARGET_SECONDS`, and grows while they do not (additive increase, multiplicative decrease, as in TCP congestion control). A
request above the limit waits a moment for a place, which smooths bursts, and is then refused without a call to a service.

Requests that hash a password have a separate, fixed limit: hashing is slow on purpose, so its response times do not
measure the load, and a flood of sign-ins takes no place from other requests.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway import paths, problems, refusals
from gateway.middleware.rate_limits import SIGN_IN_PATHS, is_free

TARGET_SECONDS = 0.3
"""The longest response time of a system that is not overloaded."""
MAX_WAIT_SECONDS = 0.25
MIN_LIMIT = 16
INITIAL_LIMIT = 40
MAX_LIMIT = 256
"""The most concurrent requests, and the most requests that wait."""
DECREASE = 0.7
PASSWORD_LIMIT = 40
"""The most concurrent requests that hash a password. The auth service queues about as many for each two cores."""
PASSWORD_MAX_WAIT_SECONDS = 1.0
_PASSWORD_PATHS = SIGN_IN_PATHS | {"/api/auth/password", "/api/v1/auth/password", "/settings/security/password"}
"""Paths whose POST may hash a password."""


class Limit:
    """A limit of concurrent requests that adapts to observed response times, and the requests that wait for a free place."""

    def __init__(
        self,
        value: int = INITIAL_LIMIT,
        *,
        max_wait: float = MAX_WAIT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.value = float(value)
        self._max_wait = max_wait
        self.in_flight = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._clock = clock
        self._decreased_at = clock()

    async def acquire(self) -> bool:
        """Take a place, waiting up to `max_wait` seconds for one; return False without a place. `release` must follow."""
        if self.in_flight < int(self.value) and not self._waiting:
            self.in_flight += 1
            return True
        if len(self._waiting) >= MAX_LIMIT:
            return False
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await asyncio.wait([place], timeout=self._max_wait)
        except asyncio.CancelledError:
            if not self._leave(place):
                self.release(None)
            raise
        return not self._leave(place)

    def release(self, seconds: float | None) -> None:
        """Return a place. Adapt the limit to the response time of its request, if that measures the load."""
        if seconds is not None:
            self._observe(seconds)
        self.in_flight -= 1
        while self._waiting and self.in_flight < int(self.value):
            self.in_flight += 1
            self._waiting.popleft().set_result(None)

    def _leave(self, place: asyncio.Future[None]) -> bool:
        """Leave the queue; return False if the place came free meanwhile and is taken."""
        if place.done():
            return False
        self._waiting.remove(place)
        return True

    def _observe(self, seconds: float) -> None:
        now = self._clock()
        if seconds > TARGET_SECONDS:
            # Requests that began before the last decrease do not measure the new limit.
            if now - seconds >= self._decreased_at:
                self.value = max(MIN_LIMIT, self.value * DECREASE)
                self._decreased_at = now
        elif self.in_flight * 2 >= self.value:
            # An unused limit does not grow: nothing shows that the system can carry it.
            self.value = min(MAX_LIMIT, self.value + 1 / self.value)


class Overload:
    """Answers 503 with `Retry-After` above the limit. Exempt: probes, static files, streams and polls, which have their own."""

    def __init__(self, app: ASGIApp, *, responder: problems.ErrorResponder) -> None:
        self._app = app
        self._responder = responder
        self._limit = Limit()
        self._passwords = Limit(PASSWORD_LIMIT, max_wait=PASSWORD_MAX_WAIT_SECONDS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 503."""
        path = scope.get("path", "")
        if scope["type"] != "http" or is_free(path) or paths.begins_stream(path):
            await self._app(scope, receive, send)
            return
        hashes = scope["method"] == "POST" and path in _PASSWORD_PATHS
        limit = self._passwords if hashes else self._limit
        if not await limit.acquire():
            await self._responder.send(refusals.overloaded(), scope, receive, send)
            return
        began = time.monotonic()
        await self._run(scope, receive, send, lambda: limit.release(None if hashes else time.monotonic() - began))

    async def _run(self, scope: Scope, receive: Receive, send: Send, release: Callable[[], None]) -> None:
        """Run the application, and `release` its place with the head of the response: a slow client holds none."""
        is_held = True

        async def send_and_release(message: Message) -> None:
            nonlocal is_held
            if is_held and message["type"] == "http.response.start":
                is_held = False
                release()
            await send(message)

        try:
            await self._app(scope, receive, send_and_release)
        finally:
            if is_held:
                release()
