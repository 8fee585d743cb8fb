"""What every request passes through: its id, its log line, and a limit to its size. Pure ASGI, so that streams stay streams."""

from __future__ import annotations

import logging
import re
import time

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chassis import ids, logs
from gateway import errors, headers, metrics

logger = logging.getLogger(__name__)

MAX_BODY_BYTES = 64 * 1024
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,100}")
_QUIET_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})


class RequestId:
    """Gives each request an id, the client's own if it is a sane one, and says it in the answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        sent = Headers(scope=scope).get("x-request-id", "")
        request_id = sent if _REQUEST_ID.fullmatch(sent) else str(ids.uuid7())
        token = logs.request_id.set(request_id)
        try:
            await self._app(scope, receive, headers.adding({"X-Request-Id": request_id}, send))
        finally:
            logs.request_id.reset(token)


class Observe:
    """Logs and counts each request, and answers for whatever was not foreseen."""

    def __init__(self, app: ASGIApp, *, answers: errors.Answers) -> None:
        self._app = app
        self._answers = answers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 0
        first_byte = 0.0

        async def noting(message: Message) -> None:
            nonlocal status, first_byte
            if message["type"] == "http.response.start":
                status = message["status"]
                first_byte = time.perf_counter() - began
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except Exception as error:
            if status:
                logger.exception("answer broke off", extra={"path": scope["path"]})
            else:
                response = await self._answers(Request(scope), error)
                await response(scope, receive, noting)
        finally:
            self._note(scope, status, first_byte, time.perf_counter() - began)

    def _note(self, scope: Scope, status: int, first_byte: float, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "unmatched")
        metrics.REQUESTS.labels(scope["method"] if route != "unmatched" else "any", route, status).inc()
        metrics.REQUEST_SECONDS.labels(route).observe(first_byte)
        level = logging.DEBUG if scope["path"] in _QUIET_PATHS else logging.INFO
        # Without the query: it may hold what is nobody's business.
        facts = {"method": scope["method"], "path": scope["path"], "status": status, "ms": round(seconds * 1000, 1)}
        logger.log(level, "answered", extra=facts)


class BodyLimit:
    """Refuses bodies above 64 KiB, whether or not they say their length."""

    def __init__(self, app: ASGIApp, *, answers: errors.Answers) -> None:
        self._app = app
        self._answers = answers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "0")
        if not declared.isdecimal() or len(declared) > 10 or int(declared) > MAX_BODY_BYTES:
            response = await self._answers(Request(scope), _too_large())
            await response(scope, receive, send)
            return
        size = 0

        async def counting() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > MAX_BODY_BYTES:
                # Raised into whoever reads the body, from where it finds its way to the answer.
                raise _too_large()
            return message

        await self._app(scope, counting, send)


def _too_large() -> HTTPException:
    # The connection stays open: the server skips the rest of the body, while a close would cut off the answer.
    return HTTPException(413, f"The body is larger than {MAX_BODY_BYTES // 1024} KiB.")
