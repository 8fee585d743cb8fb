"""Limits the streams and polls that begin at once: of a user, and of a process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from starlette.types import ASGIApp, Receive, Scope, Send

from chassis import errors
from chassis.rpc import shares
from gateway import paths, problems, refusals
from gateway.stream import replay_pace

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
EXTENSION = "repruv.place"
"""ASGI extension: the `Place` of the request."""


class Places:
    """The places of a process and of its users."""

    def __init__(self) -> None:
        self.of_process = asyncio.Semaphore(MAX_BEGINNING)
        self.of_users = shares.Shares(running=MAX_BEGINNING_PER_USER, waiting=MAX_WAITING_PER_USER)
        self.pace = replay_pace.ReplayPace()
        self.waiting = 0


class Place:
    """The place of one request."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._deadline = asyncio.get_running_loop().time() + MAX_WAIT_SECONDS
        self._is_held = False
        self._user_id = ""

    async def take(self) -> None:
        """Wait for a place of the process.

        Raises `Unavailable` `overloaded` if 10,000 wait or no place has come free within 15 s.
        """
        async with self._bounded_wait():
            await self._acquire()

    def release(self) -> None:
        """Return the place of the process, if it is held."""
        if self._is_held:
            self._is_held = False
            self._places.of_process.release()

    @asynccontextmanager
    async def of_user(self, user_id: str) -> AsyncIterator[None]:
        """Wait until a stream or poll of a user may begin. Returns the place of the process at the end.

        One that waits for others of its user, or for the pace of its user's replays, leaves the place of the process to other
        users. Raises `ResourceExhausted` if more than 22 of the user begin, and as `take`.
        """
        self._user_id = user_id
        pace = self._places.pace
        if self._places.of_users.is_busy(user_id) or pace.delay(user_id):
            self.release()
        try:
            async with AsyncExitStack() as stack:
                async with self._bounded_wait():
                    await stack.enter_async_context(self._places.of_users.place(user_id))
                    while delay := pace.delay(user_id):
                        self.release()
                        await asyncio.sleep(delay)
                    await self._acquire()
                yield
        finally:
            self.release()

    def count_replayed(self, events: int) -> None:
        """Count missed events that were read for the user of this request."""
        self._places.pace.count(self._user_id, events)

    async def _acquire(self) -> None:
        if not self._is_held:
            await self._places.of_process.acquire()
            self._is_held = True

    @asynccontextmanager
    async def _bounded_wait(self) -> AsyncIterator[None]:
        if self._places.waiting >= MAX_WAITING:
            raise refusals.overloaded()
        self._places.waiting += 1
        try:
            async with asyncio.timeout_at(self._deadline):
                yield
        except TimeoutError:
            raise refusals.overloaded() from None
        finally:
            self._places.waiting -= 1


class PlaceMiddleware:
    """Lets requests for streams and polls wait for a place of the process before they cost anything: a crowd may reconnect."""

    def __init__(self, app: ASGIApp, *, responder: problems.ErrorResponder) -> None:
        self._app = app
        self._responder = responder
        self._places = Places()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its `Place`, or answer 503."""
        path = scope.get("path", "")
        if scope["type"] != "http" or not paths.begins_stream(path):
            await self._app(scope, receive, send)
            return
        place = Place(self._places)
        try:
            await place.take()
        except errors.Unavailable as error:
            await self._responder.send(error, scope, receive, send)
            return
        try:
            await self._app({**scope, "extensions": {**scope["extensions"], EXTENSION: place}}, receive, send)
        finally:
            place.release()
