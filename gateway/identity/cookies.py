"""Cookies that only the server reads: the session's token, a step of signing in, and the visit that forms are bound to."""

from __future__ import annotations

import re
import secrets
import time
from dataclasses import dataclass

from starlette.requests import HTTPConnection
from starlette.responses import Response

from repruv.auth.v1 import auth_pb2

CHALLENGE_SECONDS = 300
_VISIT = re.compile(r"[\w-]{32}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Jar:
    """A cookie by its plain name. Over TLS its name begins with `__Host-`: browsers then bind it to this host and to TLS."""

    plain_name: str
    secure: bool

    @property
    def name(self) -> str:
        """Its name."""
        return f"__Host-{self.plain_name}" if self.secure else self.plain_name

    def read(self, request: HTTPConnection) -> str | None:
        """Return the value; None without the cookie, empty with several different values, since ours cannot be identified."""
        found = {
            value.strip()
            for header in request.headers.getlist("cookie")
            for name, _, value in (pair.partition("=") for pair in header.split(";"))
            if name.strip() == self.name
        }
        return None if not found else found.pop() if len(found) == 1 else ""

    def set(self, response: Response, value: str, max_age: int | None) -> None:
        """Set it for `max_age` seconds; None: until the browser is closed."""
        response.set_cookie(
            self.name, value, max_age=max_age, path="/", secure=self.secure, httponly=True, samesite="lax"
        )

    def clear(self, response: Response) -> None:
        """Delete it."""
        self.set(response, "", 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionCookie:
    """Return the cookie that carries a session's token."""

    secure: bool

    @property
    def jar(self) -> Jar:
        """The cookie itself."""
        return Jar(plain_name="session", secure=self.secure)

    @property
    def name(self) -> str:
        """Its name."""
        return self.jar.name

    def read(self, request: HTTPConnection) -> str | None:
        """Return the token of a request; None if it has none."""
        return self.jar.read(request)

    def put(self, response: Response, token: str, login: auth_pb2.Session) -> None:
        """Set it: until the session ends at the latest if its user wants to be remembered, else until the browser is closed.

        Whether it has been idle for too long is the service's to judge. When that renews the session, the cookie is sent again.
        """
        left = max(int(login.absolute_expire_time.seconds - time.time()), 0)
        self.jar.set(response, token, left if login.is_remembered else None)

    def clear(self, response: Response) -> None:
        """Delete it."""
        self.jar.clear(response)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnonymousCookie:
    """A random cookie of a browser that is not signed in. It proves nothing but that two requests are of one browser."""

    secure: bool

    @property
    def jar(self) -> Jar:
        """The cookie itself."""
        return Jar(plain_name="visit", secure=self.secure)

    def read(self, request: HTTPConnection) -> str:
        """Return the value of a request; empty if it is missing or malformed."""
        found = self.jar.read(request) or ""
        return found if _VISIT.fullmatch(found) else ""

    def begin(self) -> str:
        """Make a visit."""
        return secrets.token_urlsafe(24)


def challenge(*, secure: bool) -> Jar:
    """Return the cookie that carries the challenge between the two steps of signing in."""
    return Jar(plain_name="challenge", secure=secure)
