"""Finds the session of a request by its bearer token or its cookie, for the API, pages and streams alike."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import HTTPConnection
from starlette.types import Scope

from chassis import errors, identity
from gateway import paths
from gateway.identity.cookies import SessionCookie
from gateway.identity.sessions import Session, SessionInvalid, Sessions


@dataclass(frozen=True, slots=True, kw_only=True)
class Authentication:
    """The session of a request, and whether its cookie carried the token."""

    session: Session
    by_cookie: bool


_KEY = "authenticated"
BACKGROUND_HEADER = "X-Background"
"""In requests that an open page makes automatically: they do not count as a use of the session. Its streams cannot send it."""


def bearer(request: HTTPConnection) -> str | None:
    """Return the bearer token of a request; None if it has none."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


async def session_of(request: HTTPConnection, sessions: Sessions, cookie: SessionCookie, *, scope: str = "") -> Session:
    """Return the session of the bearer token, or without one of the cookie.

    An API token passes only in the header, and only with `scope`; if that is empty, no API token passes. Each request
    validates its session once. Raises `Unauthenticated`, `SessionRequired`, `ScopeMissing`, `Unavailable`.
    """
    authentication = current(request.scope) or await _authenticate(request, sessions, cookie)
    if (scopes := authentication.session.scopes) is not None:
        if authentication.by_cookie:
            raise SessionInvalid()
        identity.require_scope(scopes, scope)
    return authentication.session


async def _authenticate(request: HTTPConnection, sessions: Sessions, cookie: SessionCookie) -> Authentication:
    token = bearer(request)
    by_cookie = token is None
    if token is None:
        token = cookie.read(request)
    if token is None:
        raise errors.Unauthenticated("Sign in first.")
    is_passive = BACKGROUND_HEADER in request.headers or (by_cookie and paths.begins_stream(request.scope["path"]))
    session = await sessions.validate(token, passive=is_passive)
    authentication = Authentication(session=session, by_cookie=by_cookie)
    request.scope["state"][_KEY] = authentication
    return authentication


def current(scope: Scope) -> Authentication | None:
    """Return the authentication of a request; None before `session_of` or without a session."""
    authentication: Authentication | None = scope.get("state", {}).get(_KEY)
    return authentication


def is_by_cookie(request: HTTPConnection) -> bool:
    """Return whether the cookie of a request carried the session's token."""
    authentication = current(request.scope)
    return authentication is not None and authentication.by_cookie
