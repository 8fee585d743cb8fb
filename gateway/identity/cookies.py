"""Cookies that scripts cannot read: the session's token, the sign-in challenge, the id to which forms are bound, the address."""

from __future__ import annotations

import re
import secrets
import time
from dataclasses import dataclass
from urllib.parse import quote, unquote

from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from gateway.identity.client_info import client_info
from repruv.auth.v1 import auth_pb2

CHALLENGE_SECONDS = 300
DEVICE_SECONDS = 400 * 86_400
"""As long as browsers keep a cookie; each sign-in sets it again."""
MAX_EMAIL = 254
_DEVICE_STATE = "device"
_RANDOM_VALUE = re.compile(r"[\w-]{32}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cookie:
    """An HTTP-only cookie. Over TLS its name begins with `__Host-`: browsers then bind it to this host and to TLS."""

    plain_name: str
    secure: bool

    @property
    def name(self) -> str:
        """The name that browsers send."""
        return f"__Host-{self.plain_name}" if self.secure else self.plain_name

    def read(self, request: HTTPConnection) -> str | None:
        """Return the value: None without the cookie, empty if the request has several different values."""
        values = {
            value.strip()
            for header in request.headers.getlist("cookie")
            for name, _, value in (pair.partition("=") for pair in header.split(";"))
            if name.strip() == self.name
        }
        return None if not values else values.pop() if len(values) == 1 else ""

    def set(self, response: Response, value: str, max_age: int | None) -> None:
        """Set the cookie for `max_age` seconds; None: until the browser is closed."""
        response.set_cookie(
            self.name, value, max_age=max_age, path="/", secure=self.secure, httponly=True, samesite="lax"
        )

    def clear(self, response: Response) -> None:
        self.set(response, "", 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionCookie(Cookie):
    plain_name: str = "session"

    def keep(self, response: Response, token: str, auth_session: auth_pb2.Session) -> None:
        """Set the cookie: a remembered session keeps it until its absolute end, another one until the browser is closed.

        Auth enforces the idle timeout; a renewal never moves the absolute end, so the cookie is not sent again.
        """
        seconds_left = max(int(auth_session.absolute_expire_time.seconds - time.time()), 0)
        self.set(response, token, seconds_left if auth_session.is_remembered else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnonymousCookie(Cookie):
    """A random cookie of a browser that is not signed in. It proves only that two requests come from one browser."""

    plain_name: str = "visit"

    def read(self, request: HTTPConnection) -> str:
        """Return the value of a request; empty if it is missing or malformed."""
        value = Cookie.read(self, request) or ""
        return value if _RANDOM_VALUE.fullmatch(value) else ""

    def new_value(self) -> str:
        return secrets.token_urlsafe(24)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceCookie(Cookie):
    """A random cookie by which an account recognises a browser that has signed in before. It grants nothing."""

    plain_name: str = "device"

    def client(self, request: Request) -> auth_pb2.Client:
        """Return the client of a sign-in by a browser; one without the cookie gets a new secret."""
        if not hasattr(request.state, _DEVICE_STATE):
            value = self.read(request) or ""
            value = value if _RANDOM_VALUE.fullmatch(value) else secrets.token_urlsafe(24)
            setattr(request.state, _DEVICE_STATE, value)
        client = client_info(request)
        client.device = getattr(request.state, _DEVICE_STATE)
        return client

    def keep(self, request: Request, response: Response) -> None:
        """Set the cookie of the client of a sign-in that succeeded."""
        self.set(response, getattr(request.state, _DEVICE_STATE), DEVICE_SECONDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class EmailCookie(Cookie):
    """The address of the user who is signed in. It fills the sign-in form after the session has ended, until they sign out."""

    plain_name: str = "email"

    def read(self, request: HTTPConnection) -> str:
        """Return the address; empty without one."""
        return unquote(Cookie.read(self, request) or "")[:MAX_EMAIL]

    def keep(self, request: HTTPConnection, response: Response, email: str, *, is_remembered: bool) -> None:
        """Set the cookie unless the browser has it: for `DEVICE_SECONDS`, or until the browser is closed."""
        if email and self.read(request) != email:
            self.set(response, quote(email), DEVICE_SECONDS if is_remembered else None)


def challenge(*, secure: bool) -> Cookie:
    """Return the cookie that carries the challenge between the two steps of signing in."""
    return Cookie(plain_name="challenge", secure=secure)
