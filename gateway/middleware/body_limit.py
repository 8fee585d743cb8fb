"""The limit of request bodies."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.problems import ErrorResponder

MAX_BODY_BYTES = 64 * 1024


class BodyLimit:
    """Refuses bodies above 64 KiB, with and without a Content-Length."""

    def __init__(self, app: ASGIApp, *, responder: ErrorResponder) -> None:
        self._app = app
        self._responder = responder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "0")
        if not declared.isdecimal() or len(declared) > 10 or int(declared) > MAX_BODY_BYTES:
            response = await self._responder(Request(scope), _too_large())
            await response(scope, receive, send)
            return
        size = 0

        async def receive_and_count() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > MAX_BODY_BYTES:
                # Raised where the route reads the body, so that the exception handlers see it.
                raise _too_large()
            return message

        await self._app(scope, receive_and_count, send)


def _too_large() -> HTTPException:
    # The connection stays open: the server skips the rest of the body. Closing it would cut off the response.
    return HTTPException(413, f"The body is larger than {MAX_BODY_BYTES // 1024} KiB.")
