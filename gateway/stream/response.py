"""The ASGI response of a stream, and what takes it out of the request that made it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.stream import connection, line

MEDIA_TYPE = "text/event-stream"
OPENING_AT_ONCE = 64
"""How many streams are being opened; the others wait, so that a crowd that comes back does not make each call time out."""
BEGUN = "repruv.begun"
"""ASGI extension of `HandOff`: where a stream that has begun puts itself."""


class EventStream(Response):
    """Sends the head; the stream does the rest."""

    media_type = MEDIA_TYPE

    def __init__(self, stream: connection.Connection) -> None:
        # The line is closed with the stream: a client that used it for its next request would race with that.
        headers = {"Cache-Control": "no-store, no-transform", "X-Accel-Buffering": "no", "Connection": "close"}
        super().__init__(headers=headers, media_type=f"{MEDIA_TYPE}; charset=utf-8")
        del self.headers["content-length"]
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Begin; the rest follows when everything between here and `HandOff` has returned."""
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        except BaseException:
            self._stream.lost()
            raise
        scope["extensions"][BEGUN].append(self._stream)


class HandOff:
    """Gives streams that have begun to the socket: nothing that a request needed is kept for as long as its stream lasts."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._opening = asyncio.Semaphore(OPENING_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application, then leave the connection to the stream that it began."""
        if scope["type"] != "http" or not scope["path"].endswith("/events"):
            await self._app(scope, receive, send)
            return
        begun: list[connection.Connection] = []
        take_over: Callable[[line.Writer], None] = scope["extensions"][line.TAKE_OVER]
        # A copy, since the framework leaves things in it.
        inner = {**scope, "extensions": {**scope["extensions"], BEGUN: begun}}
        try:
            async with self._opening:
                await self._app(inner, receive, send)
        except BaseException:
            for stream in begun:
                stream.lost()
            raise
        for stream in begun:
            take_over(stream)
