"""The ASGI response of a stream: sends what comes, notices who left, drops who does not read."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

logger = logging.getLogger(__name__)

MEDIA_TYPE = "text/event-stream"
SEND_TIMEOUT = 5.0
ABORT = "repruv.abort"
"""ASGI extension of our server: a function that drops the connection with whatever is unsent."""


BEGUN = "repruv.begun"
"""ASGI extension of `HandOff`: where a stream that has begun puts itself."""


class Stalled(Exception):
    """The client does not read."""


class EventStream(Response):
    """Sends chunks of frames until there are no more."""

    media_type = MEDIA_TYPE

    def __init__(
        self, chunks: AsyncGenerator[bytes, None], *, on_gone: Callable[[], None], on_end: Callable[[], None]
    ) -> None:
        """`on_gone` is called when the client has left and should end `chunks`; `on_end` in any case, at the end."""
        headers = {"Cache-Control": "no-store, no-transform", "X-Accel-Buffering": "no"}
        super().__init__(headers=headers, media_type=f"{MEDIA_TYPE}; charset=utf-8")
        del self.headers["content-length"]
        self._chunks = chunks
        self._on_gone = on_gone
        self._on_end = on_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Begin; the rest follows when everything between here and `HandOff` has returned."""
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        except BaseException:
            self._on_end()
            raise
        begun: list[EventStream] | None = scope.get("extensions", {}).get(BEGUN)
        if begun is None:
            await self.run(scope, receive, send)
        else:
            begun.append(self)

    async def run(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send everything."""
        watcher = asyncio.create_task(self._watch(receive))
        try:
            async for chunk in self._chunks:
                await _send(send, chunk, more=True)
            await _send(send, b"", more=False)
        except Stalled:
            logger.info("stalled reader dropped", extra={"client": scope.get("client")})
            if abort := scope.get("extensions", {}).get(ABORT):
                abort()
                # The server hears of it in the next turn of the loop, and then misses no end of the response.
                await asyncio.sleep(0)
        finally:
            watcher.cancel()
            await self._chunks.aclose()
            self._on_end()

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._on_gone()


class HandOff:
    """Runs streams outside of everything that made them: what a request needed is not kept for as long as its stream lasts.

    That halves the memory of an open stream.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application, then the stream that it began."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif stream := await self._begin(scope, receive, send):
            await stream.run(scope, receive, send)

    async def _begin(self, scope: Scope, receive: Receive, send: Send) -> EventStream | None:
        begun: list[EventStream] = []
        # A copy, since the framework leaves things in it.
        inner = {**scope, "extensions": {**scope.get("extensions", {}), BEGUN: begun}}
        await self._app(inner, receive, send)
        return begun[0] if begun else None


async def _send(send: Send, chunk: bytes, *, more: bool) -> None:
    try:
        async with asyncio.timeout(SEND_TIMEOUT):
            await send({"type": "http.response.body", "body": chunk, "more_body": more})
    except TimeoutError as error:
        raise Stalled from error
