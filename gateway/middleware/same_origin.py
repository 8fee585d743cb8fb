"""Refuses what another site makes a browser send."""

from __future__ import annotations

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from chassis import errors as failures
from gateway import problems
from gateway.identity import authentication

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_OURS = frozenset({"same-origin", "none"})  # `none` is the user's own doing, for example a reload


class SameOrigin:
    """Judges requests with an unsafe method by one rule, signed in or not.

    1. With a bearer token it passes: no browser adds it automatically, and a cookie sent with it is ignored.
    2. `Sec-Fetch-Site`, if there is one, must be `same-origin` or `none`.
    3. `Origin`, if there is one, must be ours; `null` only where `Sec-Fetch-Site` has spoken for it, since that is how browsers
       write it on our own pages without referrer.
    4. With neither, which no browser of today sends: under /api/ a body must be JSON, which no form can send. Pages have
       their form tokens.
    """

    def __init__(self, app: ASGIApp, *, public_origin: str, responder: problems.ErrorResponder) -> None:
        self._app = app
        self._responder = responder
        self._public_origin = public_origin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] == "http" and scope["method"] not in _SAFE_METHODS:
            refusal = self._refusal(HTTPConnection(scope))
            if refusal is not None:
                await self._responder.send(refusal, scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refusal(self, request: HTTPConnection) -> failures.Error | None:
        if authentication.bearer(request) is not None:
            return None
        site = request.headers.get("sec-fetch-site")
        origin = request.headers.get("origin")
        if site is not None and site not in _OURS:
            return _foreign()
        if origin is not None and not (origin == "null" and site is not None):
            return None if self._is_own(origin, request) else _foreign()
        if site is None and request.url.path.startswith("/api/") and _could_be_a_form(request):
            message = "The body must be JSON, with the header Content-Type: application/json."
            return failures.InvalidArgument(message, code="unsupported_media_type", field="content-type")
        return None

    def _is_own(self, origin: str, request: HTTPConnection) -> bool:
        return origin in {self._public_origin, f"{request.url.scheme}://{request.headers.get('host', '')}"}


def _foreign() -> failures.Error:
    return failures.PermissionDenied("Another site sent this request.", code="cross_site_request")


def _could_be_a_form(request: HTTPConnection) -> bool:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind:
        return kind != "application/json" and not kind.endswith("+json")
    return request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers
