"""The ASGI response of a stream: sends what comes, notices who left, drops who does not read."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

logger = logging.getLogger(__name__)

MEDIA_TYPE = "text/event-stream"
SEND_TIMEOUT = 5.0
ABORT = "repruv.abort"
"""ASGI extension of our server: a function that drops the connection with whatever is unsent."""


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
        """Send everything."""
        watcher = asyncio.create_task(self._watch(receive))
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async for chunk in self._chunks:
                await _send(send, chunk, more=True)
            await _send(send, b"", more=False)
        except Stalled:
            logger.info("stalled reader dropped", extra={"client": scope.get("client")})
            if abort := scope.get("extensions", {}).get(ABORT):
                abort()
        finally:
            watcher.cancel()
            await self._chunks.aclose()
            self._on_end()

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._on_gone()


async def _send(send: Send, chunk: bytes, *, more: bool) -> None:
    try:
        async with asyncio.timeout(SEND_TIMEOUT):
            await send({"type": "http.response.body", "body": chunk, "more_body": more})
    except TimeoutError as error:
        raise Stalled from error
