"""Sends the session's cookie again when auth has renewed the session."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.identity import authentication
from gateway.identity.cookies import SessionCookie


class CookieRenewal:
    """Sets the cookie of requests that came by cookie. A response that already sets the cookie is unchanged."""

    def __init__(self, app: ASGIApp, *, cookie: SessionCookie) -> None:
        self._app = app
        self._cookie = cookie

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope.setdefault("state", {})

        async def renewing(message: Message) -> None:
            if message["type"] == "http.response.start":
                authenticated = authentication.current(scope)
                if authenticated is not None and authenticated.by_cookie and authenticated.session.is_renewed:
                    self._put(MutableHeaders(scope=message), authenticated)
            await send(message)

        await self._app(scope, receive, renewing)

    def _put(self, headers: MutableHeaders, authenticated: authentication.Authentication) -> None:
        if any(header.startswith(f"{self._cookie.name}=") for header in headers.getlist("set-cookie")):
            return
        carrier = Response()
        self._cookie.keep(carrier, authenticated.session.token, authenticated.session.auth_session)
        headers.append("set-cookie", carrier.headers["set-cookie"])
