"""The user's profile: name, time zone, theme."""

from __future__ import annotations

import functools
import zoneinfo
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request

from gateway import views
from gateway.pages import reader
from gateway.pages.settings_form import SettingsForm
from repruv.auth.v1 import auth_pb2, auth_service_pb2

_AREAS = frozenset({"Africa", "America", "Antarctica", "Asia", "Atlantic", "Australia", "Europe", "Indian", "Pacific"})


class Profile(SettingsForm):
    """`/settings/profile`."""

    path = views.PROFILE_PATH
    template = "profile"
    fields = ("name", "time_zone", "theme")
    saved = "profile_saved"

    def values(self, user: auth_pb2.User) -> Mapping[str, str]:
        profile = views.profile(user)
        return {"name": profile["name"], "time_zone": profile["time_zone"] or "", "theme": profile["theme"]}

    async def send(self, identity: str, fields: Mapping[str, str]) -> None:
        changes = auth_service_pb2.UpdateProfileRequest(name=fields["name"], time_zone=fields["time_zone"])
        changes.theme = next(
            (value for theme, value in views.THEMES.items() if theme == fields["theme"]), auth_pb2.THEME_UNSPECIFIED
        )
        await self._container.auth.update_profile.send(identity, changes)

    def context(self, request: Request, form: Mapping[str, Any]) -> dict[str, Any]:
        """Return the time zones to choose from."""
        return {"zones": zones(form["values"]["time_zone"]), "zone_of_browser": reader.zone_of_browser(request)}


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
