"""Who makes a request: by bearer token, or else by cookie. One rule for the API, for pages and for streams."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import HTTPConnection
from starlette.types import Scope

from chassis import errors
from gateway.identity.cookies import SessionCookie
from gateway.identity.sessions import Session, Sessions


@dataclass(frozen=True, slots=True, kw_only=True)
class Authenticated:
    """Whom a request was found to come from."""

    session: Session
    by_cookie: bool


_KEY = "authenticated"


def bearer(request: HTTPConnection) -> str | None:
    """Return the bearer token of a request; None if it has none."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


async def session_of(request: HTTPConnection, sessions: Sessions, cookie: SessionCookie) -> Session:
    """Return the session of a request: of its bearer token, else of its cookie. It is validated once a request.

    Raises `Unauthenticated`, `Unavailable`.
    """
    if (known := found(request.scope)) is not None:
        return known.session
    token = bearer(request)
    by_cookie = token is None
    if token is None:
        token = cookie.read(request)
    if token is None:
        raise errors.Unauthenticated("Sign in first.")
    session = await sessions.validate(token)
    request.scope["state"][_KEY] = Authenticated(session=session, by_cookie=by_cookie)
    return session


def found(scope: Scope) -> Authenticated | None:
    """Return the authenticated caller of a request; None before `session_of` or without a session."""
    known: Authenticated | None = scope.get("state", {}).get(_KEY)
    return known


def is_by_cookie(request: HTTPConnection) -> bool:
    """Whether the session of a request was found by its cookie."""
    known = found(request.scope)
    return known is not None and known.by_cookie
