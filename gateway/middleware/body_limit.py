"""The limit of request bodies, and their arrival before the request is handled."""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.problems import ErrorResponder

MAX_BODY_BYTES = 64 * 1024
MAX_ARRIVING = 1_000
"""Bodies that arrive at the same time. Beyond them the oldest is given up: a body of an honest client arrives at once."""


class BodyLimit:
    """Refuses bodies above 64 KiB, with and without a Content-Length. Passes a request on when its body has arrived.

    A client that sends no body holds nothing that others wait for: neither a place of `overload` nor one of an opening stream.
    The server closes the connection after 30 s.
    """

    def __init__(self, app: ASGIApp, *, responder: ErrorResponder) -> None:
        self._app = app
        self._responder = responder
        # The oldest first.
        self._arriving: dict[asyncio.Timeout, None] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its body, or answer 413 or 408."""
        headers = Headers(raw=scope.get("headers", []))
        if "content-length" not in headers and "transfer-encoding" not in headers:
            await self._app(scope, receive, send)
            return
        try:
            message: Message | None = {"type": "http.request", "body": await self._body(headers, receive)}
        except HTTPException as error:
            await self._responder.send(error, scope, receive, send)
            return

        async def receive_again() -> Message:
            nonlocal message
            if message is None:
                # Waits until the client disconnects.
                return await receive()
            body, message = message, None
            return body

        await self._app(scope, receive_again, send)

    async def _body(self, headers: Headers, receive: Receive) -> bytes:
        declared = headers.get("content-length", "0")
        if not declared.isdecimal() or len(declared) > 10 or int(declared) > MAX_BODY_BYTES:
            raise _too_large()
        body = bytearray()
        try:
            async with asyncio.timeout(None) as arrival:
                self._note(arrival)
                is_complete = False
                while not is_complete:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _incomplete()
                    body += message.get("body", b"")
                    if len(body) > MAX_BODY_BYTES:
                        raise _too_large()
                    is_complete = not message.get("more_body", False)
        except TimeoutError:
            raise _incomplete() from None
        finally:
            self._arriving.pop(arrival, None)
        return bytes(body)

    def _note(self, arrival: asyncio.Timeout) -> None:
        if len(self._arriving) >= MAX_ARRIVING:
            oldest = next(iter(self._arriving))
            del self._arriving[oldest]
            oldest.reschedule(asyncio.get_running_loop().time())
        self._arriving[arrival] = None


def _too_large() -> HTTPException:
    # The connection stays open: the server skips the rest of the body. Closing it would cut off the response.
    return HTTPException(413, f"The body is larger than {MAX_BODY_BYTES // 1024} KiB.")


def _incomplete() -> HTTPException:
    return HTTPException(408, "The body of the request did not arrive.")
