"""The user's profile: name, time zone, theme."""

from __future__ import annotations

import functools
import zoneinfo
from collections import defaultdict
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chassis import errors
from gateway import views
from gateway.container import Container
from gateway.pages import forms, reader
from gateway.pages.page import Page
from repruv.auth.v1 import auth_pb2, auth_service_pb2

PATH = views.PROFILE_PATH
FIELDS = ("name", "time_zone", "theme")
_AREAS = frozenset({"Africa", "America", "Antarctica", "Asia", "Atlantic", "Australia", "Europe", "Indian", "Pacific"})


class Profile(Page):
    """`/settings/profile`."""

    def __init__(self, container: Container) -> None:
        super().__init__(container)
        self.routes = [Route(PATH, self.show), *self.form_routes(PATH, self.show, {"save": self.save})]

    async def show(self, request: Request) -> Response:
        """Show the profile."""
        return await self._show(request)

    async def save(self, request: Request) -> Response:
        """Change the profile."""
        session, fields = await self.read_form(request, *FIELDS)
        changes = auth_service_pb2.UpdateProfileRequest(name=fields["name"], time_zone=fields["time_zone"])
        changes.theme = next(
            (value for theme, value in views.THEMES.items() if theme == fields["theme"]), auth_pb2.THEME_UNSPECIFIED
        )
        try:
            await self._container.auth.update_profile.send(session.identity, changes)
        except errors.Error as error:
            if error.code == "session_invalid" or (failure := forms.mistakes_of(error, FIELDS)) is None:
                raise
            return await self._show(request, forms.filled(fields, failure[1]), status=failure[0])
        self._container.sessions.forget_refreshed(session.user_id, {session.session_id})
        return self.see(PATH, say="profile_saved")

    async def _show(self, request: Request, form: dict[str, Any] | None = None, *, status: int = 200) -> Response:
        visitor = await self.begin(request)
        profile = views.profile(visitor.session.user)
        saved = {"name": profile["name"], "time_zone": profile["time_zone"] or "", "theme": profile["theme"]}
        form = form or forms.filled(saved, {})
        context = {
            "profile": profile,
            "form": form,
            "zones": zones(form["values"]["time_zone"]),
            "zone_of_browser": reader.zone_of_browser(request),
        }
        return visitor.show("profile", PATH, context, status=status)


def zones(chosen: str) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return the zones to choose from by area, as (name, city); the chosen one is always among them."""
    areas = _zones()
    is_offered = any(chosen == name for _, cities in areas for name, _ in cities)
    return areas if is_offered or not chosen else [("Other", [(chosen, chosen)]), *areas]


@functools.cache
def _zones() -> list[tuple[str, list[tuple[str, str]]]]:
    by_area: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for name in sorted(zoneinfo.available_timezones()):
        area, _, city = name.partition("/")
        if area in _AREAS:
            by_area[area].append((name, city.replace("_", " ").replace("/", ": ")))
    return [("Universal", [("UTC", "UTC")]), *sorted(by_area.items())]
