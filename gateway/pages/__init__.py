"""Pages: complete in their first answer, usable without JavaScript, alive with it."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.routing import BaseRoute

from gateway import parts
from gateway.pages import (
    admin,
    connections,
    dashboard,
    demo_mode,
    devices,
    entrance,
    jobs,
    notifications,
    reauthentication,
    recovery,
    security,
    static,
)
from gateway.pages.problems import error_page

__all__ = ["error_page", "routes"]


def routes(assembled: parts.Parts) -> Sequence[BaseRoute]:
    """Give the routes of all pages, and of the files that they load."""
    return [
        *entrance.Entrance(assembled).routes,
        *recovery.Recovery(assembled).routes,
        *reauthentication.Reauthentication(assembled).routes,
        *dashboard.Dashboard(assembled).routes,
        *demo_mode.DemoMode(assembled).routes,
        *jobs.Jobs(assembled).routes,
        *notifications.Notifications(assembled).routes,
        *connections.Connections(assembled).routes,
        *security.Security(assembled).routes,
        *devices.Devices(assembled).routes,
        *admin.routes(assembled),
        static.Static().route,
    ]
