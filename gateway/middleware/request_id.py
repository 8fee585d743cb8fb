"""Request ids."""

from __future__ import annotations

import re

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from chassis import ids, logs
from gateway.middleware import headers

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,100}")


class RequestId:
    """Assigns each request an id and returns it in `X-Request-Id`. A well-formed id of the client is kept."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        header = Headers(scope=scope).get("x-request-id", "")
        request_id = header if _REQUEST_ID.fullmatch(header) else str(ids.uuid7())
        token = logs.request_id.set(request_id)
        try:
            await self._app(scope, receive, headers.adding({"X-Request-Id": request_id}, send))
        finally:
            logs.request_id.reset(token)
