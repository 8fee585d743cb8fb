"""Request ids and the spans of requests: the id of a request is the id of its trace."""

from __future__ import annotations

import re

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chassis import ids, logs, tracing
from gateway.middleware import headers

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,100}")
_UNTRACED = ("/healthz", "/readyz", "/metrics", "/static/")


class RequestId:
    """Assigns each request an id and returns it in `X-Request-Id`. A well-formed id of the client is kept.

    The id is a UUIDv7 as 32 hex digits, and the id of the request's trace. With `trust_traceparent` both come from the header
    `traceparent`; otherwise the header is ignored: clients do not choose ids of traces.
    """

    def __init__(self, app: ASGIApp, *, trust_traceparent: bool = False) -> None:
        self._app = app
        self._trusts = trust_traceparent

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        received = Headers(scope=scope)
        request_id = received.get("x-request-id", "")
        request_id = request_id if _REQUEST_ID.fullmatch(request_id) else ""
        parent = tracing.read(received.get(tracing.HEADER, "")) if self._trusts else ""
        if tracing.is_on() and not scope["path"].startswith(_UNTRACED):
            attributes = {
                "http.request.method": scope["method"],
                **({"http.request.id": request_id} if request_id else {}),
            }
            with tracing.root(scope["method"], parent, "server", attributes):
                await self._pass_on(
                    scope, receive, _record_span(scope, send), request_id or tracing.trace_id(tracing.position())
                )
        else:
            await self._pass_on(scope, receive, send, request_id or tracing.trace_id(parent) or ids.uuid7().hex)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        token = logs.request_id.set(request_id)
        try:
            await self._app(scope, receive, headers.adding([(b"x-request-id", request_id.encode())], send))
        finally:
            logs.request_id.reset(token)


def _record_span(scope: Scope, send: Send) -> Send:
    """Add the route and the status to the span of a request. Not the path: it may hold what is secret."""

    async def note(message: Message) -> None:
        if message["type"] == "http.response.start":
            route = getattr(scope.get("route"), "path", "unmatched")
            status: int = message["status"]
            attributes = {"http.route": route, "http.response.status_code": status}
            if status >= 500:
                attributes["error.type"] = str(status)
            tracing.note(f"{scope['method']} {route}", attributes)
        await send(message)

    return note
