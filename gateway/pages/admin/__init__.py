"""Pages for admins. Other users get 404; the services check the role again."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.routing import BaseRoute

from gateway.container import Container
from gateway.pages.admin import (
    bulk,
    errors,
    health,
    jobs,
    kind,
    kinds,
    overview,
    schedules,
    search,
    security_events,
    users,
)


def routes(container: Container) -> Sequence[BaseRoute]:
    return [
        *overview.Overview(container).routes(),
        *search.Search(container).routes(),
        *jobs.Jobs(container).routes(),
        *bulk.Bulk(container).routes(),
        *errors.Errors(container).routes(),
        *kinds.Kinds(container).routes(),
        *kind.KindPage(container).routes(),
        *schedules.Schedules(container).routes(),
        *health.Health(container).routes(),
        *users.Users(container).routes(),
        *security_events.SecurityEvents(container).routes(),
    ]
