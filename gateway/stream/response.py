"""The ASGI response of a stream, and the middleware that moves the stream out of its request."""

from __future__ import annotations

from collections.abc import Callable

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.stream import raw_connection
from gateway.stream.stream import Stream

MEDIA_TYPE = "text/event-stream"
STARTED = "repruv.started"
"""ASGI extension of `TakeOverMiddleware`: the list to which a started stream adds itself."""


class EventStream(Response):
    """Sends the head of the response; the stream sends the body."""

    media_type = MEDIA_TYPE

    def __init__(self, stream: Stream) -> None:
        # The connection closes with the stream; a next request of the client on it would race with that.
        headers = {"Cache-Control": "no-store, no-transform", "X-Accel-Buffering": "no", "Connection": "close"}
        super().__init__(headers=headers, media_type=f"{MEDIA_TYPE}; charset=utf-8")
        del self.headers["content-length"]
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the head; the body follows when all between here and `TakeOverMiddleware` have returned."""
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        except BaseException:
            self._stream.disconnected()
            raise
        scope["extensions"][STARTED].append(self._stream)


class TakeOverMiddleware:
    """Hands started streams to their sockets, so that no state of the request lives as long as its stream."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application, then hand the connection to the stream that it started."""
        if scope["type"] != "http" or not scope["path"].endswith("/events"):
            await self._app(scope, receive, send)
            return
        started: list[Stream] = []
        take_over: Callable[[raw_connection.Writer], None] = scope["extensions"][raw_connection.TAKE_OVER]
        # A copy, because the framework adds to it.
        inner = {**scope, "extensions": {**scope["extensions"], STARTED: started}}
        try:
            await self._app(inner, receive, send)
        except BaseException:
            for stream in started:
                stream.disconnected()
            raise
        for stream in started:
            take_over(stream)
