"""Refuses bodies of another media type, charset or coding than the API reads."""

from __future__ import annotations

import functools
from email.message import Message

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from chassis import errors
from gateway.problems import ErrorResponder

_CHARSETS = ("", "utf-8", "utf8", "us-ascii")


class MediaType:
    """Answers 415 to a body under /api/ that is compressed, or not JSON in UTF-8 (RFC 8259, 8.1)."""

    def __init__(self, app: ASGIApp, *, responder: ErrorResponder) -> None:
        self._app = app
        self._responder = responder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] == "http" and scope["path"].startswith("/api/"):
            headers = Headers(scope=scope)
            has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
            if has_body and (error := _refusal(headers)) is not None:
                await self._responder.send(error, scope, receive, send)
                return
        await self._app(scope, receive, send)


def _refusal(headers: Headers) -> errors.Error | None:
    field, message = "", ""
    if headers.get("content-encoding", "identity").lower() != "identity":
        field, message = "content-encoding", "The body must not be compressed: send no Content-Encoding."
    elif (declared := headers.get("content-type")) is not None and not is_json(declared):
        field, message = "content-type", "The body must be JSON in UTF-8: send Content-Type: application/json."
    return errors.InvalidArgument(message, code="unsupported_media_type", field=field) if field else None


@functools.lru_cache(maxsize=64)
def is_json(content_type: str) -> bool:
    """Return whether a Content-Type is JSON in UTF-8."""
    header = Message()
    header["content-type"] = content_type
    kind = header.get_content_type()
    is_json_kind = kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))
    return is_json_kind and str(header.get_param("charset", "")).lower() in _CHARSETS
