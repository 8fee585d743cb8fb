"""Pages for admins; for everybody else there is nothing there. The services look at the role again."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.routing import BaseRoute

from gateway import parts
from gateway.pages.admin import health, jobs, kinds, schedules, security_events, users


def routes(assembled: parts.Parts) -> Sequence[BaseRoute]:
    """Give the routes of all pages for admins."""
    return [
        *jobs.Jobs(assembled).routes,
        *kinds.Kinds(assembled).routes,
        *schedules.Schedules(assembled).routes,
        *health.Health(assembled).routes,
        *users.Users(assembled).routes,
        *security_events.SecurityEvents(assembled).routes,
    ]
