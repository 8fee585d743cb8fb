"""Pages for admins. Other users get 404; the services check the role again."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.routing import BaseRoute

from gateway.container import Container
from gateway.pages.admin import health, jobs, kinds, schedules, security_events, users


def routes(container: Container) -> Sequence[BaseRoute]:
    """Return the routes of all pages for admins."""
    return [
        *jobs.Jobs(container).routes,
        *kinds.Kinds(container).routes,
        *schedules.Schedules(container).routes,
        *health.Health(container).routes,
        *users.Users(container).routes,
        *security_events.SecurityEvents(container).routes,
    ]
