"""How the reader of a page sees it: the time zone and the theme, by the profile or the cookies of the browser."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import Self

from starlette.requests import Request
from starlette.responses import Response

from chassis import time_zones
from gateway import views
from repruv.auth.v1 import auth_pb2

ZONE_COOKIE = "time_zone"
"""The browser's zone, set by pages.js."""
THEME_COOKIE = "theme"
"""The theme of the user who signed in last: pages without a session have it too."""
_YEAR_SECONDS = 365 * 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """The zone of times and the theme of a page."""

    zone: tzinfo
    theme: views.Theme

    @classmethod
    def of_browser(cls, request: Request) -> Self:
        """Return the reader of a page without a session."""
        theme = request.cookies.get(THEME_COOKIE, "")
        return cls(
            zone=_zone_of_browser(request) or UTC,
            theme=next((each for each in views.THEMES if each == theme), "system"),
        )

    @classmethod
    def of_user(cls, request: Request, user: auth_pb2.User) -> Self:
        """Return the reader of a page of a signed-in user."""
        zone = time_zones.find(user.time_zone) or _zone_of_browser(request) or UTC
        return cls(zone=zone, theme=views.profile(user)["theme"])

    def remember(self, request: Request, response: Response, *, secure: bool) -> None:
        """Store the theme in the browser unless it is there already."""
        if request.cookies.get(THEME_COOKIE, "system") != self.theme:
            response.set_cookie(
                THEME_COOKIE, self.theme, max_age=_YEAR_SECONDS, secure=secure, httponly=True, samesite="lax"
            )


def zone_of_browser(request: Request) -> str:
    """Return the name of the browser's time zone; empty if it is unknown."""
    name = request.cookies.get(ZONE_COOKIE, "")
    return name if time_zones.find(name) else ""


def _zone_of_browser(request: Request) -> tzinfo | None:
    return time_zones.find(request.cookies.get(ZONE_COOKIE, ""))
