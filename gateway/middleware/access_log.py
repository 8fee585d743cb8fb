"""The access log and the request metrics."""

from __future__ import annotations

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway import metrics
from gateway.problems import ErrorResponder

logger = logging.getLogger(__name__)

_QUIET_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})


class AccessLog:
    """Logs and counts each request. Turns an exception that nothing else handled into a problem."""

    def __init__(self, app: ASGIApp, *, responder: ErrorResponder) -> None:
        self._app = app
        self._responder = responder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_at = time.perf_counter()
        status = 0
        first_byte = 0.0

        async def send_and_measure(message: Message) -> None:
            nonlocal status, first_byte
            if message["type"] == "http.response.start":
                status = message["status"]
                first_byte = time.perf_counter() - started_at
            await send(message)

        try:
            await self._app(scope, receive, send_and_measure)
        except Exception as error:
            if status:
                logger.exception("response interrupted", extra={"path": scope["path"]})
            else:
                await self._responder.send(error, scope, receive, send_and_measure)
        finally:
            self._record(scope, status, first_byte, time.perf_counter() - started_at)

    def _record(self, scope: Scope, status: int, first_byte: float, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "unmatched")
        # A method that a path does not have names no series: strangers would create 34 for each route.
        is_known = route != "unmatched" and status != 405
        metrics.answered(scope["method"] if is_known else "any", route, status, first_byte)
        level = logging.DEBUG if scope["path"] in _QUIET_PATHS else logging.INFO
        # Without the query: it may hold secrets.
        fields = {"method": scope["method"], "path": scope["path"], "status": status, "ms": round(seconds * 1000, 1)}
        logger.log(level, "request", extra=fields)
