"""What every request passes through: its id, its log line, limits and headers. Pure ASGI, so that streams stay streams."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chassis import errors as failures
from chassis import ids, logs
from gateway import errors, metrics, sessions

logger = logging.getLogger(__name__)

MAX_BODY_BYTES = 64 * 1024
DOCS_PATH = "/docs"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,100}")
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_QUIET_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})

_CONTENT_POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self';"
    " frame-ancestors 'none'"
)
# Swagger UI writes style attributes.
_DOCS_CONTENT_POLICY = f"{_CONTENT_POLICY}; style-src 'self' 'unsafe-inline'"
_SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}
_STRICT_TRANSPORT = "max-age=31536000; includeSubDomains"


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
            await self._app(scope, receive, _adding({"X-Request-Id": request_id}, send))
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


class SecurityHeaders:
    """Tells browsers what our answers may do; an answer that says otherwise itself is left alone."""

    def __init__(self, app: ASGIApp, *, https: bool) -> None:
        self._app = app
        self._headers = {**_SECURITY_HEADERS, "Content-Security-Policy": _CONTENT_POLICY}
        if https:
            self._headers["Strict-Transport-Security"] = _STRICT_TRANSPORT
        self._docs_headers = {**self._headers, "Content-Security-Policy": _DOCS_CONTENT_POLICY}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = self._docs_headers if scope["path"] == DOCS_PATH else self._headers
        await self._app(scope, receive, _adding(headers, send))


class SameOrigin:
    """Refuses what another site makes a browser send: unsafe methods whose origin is not ours.

    Requests with a bearer token pass, since no browser adds that by itself and their cookie is not looked at. So do requests
    that name no origin in any way: browsers always do.
    """

    def __init__(self, app: ASGIApp, *, public_origin: str, answers: errors.Answers) -> None:
        self._app = app
        self._answers = answers
        self._public_origin = public_origin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in _SAFE_METHODS and self._is_foreign(HTTPConnection(scope)):
            refusal = failures.PermissionDenied("Another site sent this request.", code="cross_site_request")
            response = await self._answers(Request(scope), refusal)
            await response(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _is_foreign(self, request: HTTPConnection) -> bool:
        if sessions.bearer(request) is not None:
            return False
        site = request.headers.get("sec-fetch-site")
        if site is not None:
            # `none` is the user's own doing, for example a reload.
            return site not in {"same-origin", "none"}
        origin = request.headers.get("origin")
        if origin is None:
            return False
        own = f"{request.url.scheme}://{request.headers.get('host', '')}"
        return origin not in {self._public_origin, own}


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


def _adding(headers: Mapping[str, str], send: Send) -> Send:
    async def adding(message: Message) -> None:
        if message["type"] == "http.response.start":
            sent = MutableHeaders(scope=message)
            for name, value in headers.items():
                sent.setdefault(name, value)
        await send(message)

    return adding
