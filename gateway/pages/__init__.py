"""Pages: complete in their first response, usable without JavaScript, live with it."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.routing import BaseRoute

from gateway.container import Container
from gateway.pages import (
    admin,
    break_it,
    connections,
    dashboard,
    data_export,
    deletion,
    demo_mode,
    exports,
    job,
    jobs,
    links,
    login,
    notification_settings,
    notifications,
    profile,
    reauthentication,
    recovery,
    security,
    sessions,
    static,
    tokens,
)
from gateway.pages.error_page import error_page

__all__ = ["error_page", "routes"]


def routes(container: Container) -> Sequence[BaseRoute]:
    """Return the routes of all pages and static files."""
    return [
        *login.Login(container).routes(),
        *recovery.Recovery(container).routes(),
        *links.Links(container).routes(),
        *reauthentication.Reauthentication(container).routes(),
        *dashboard.Dashboard(container).routes(),
        *demo_mode.DemoMode(container).routes(),
        *(break_it.BreakIt(container, container.breaks).routes() if container.breaks else ()),
        *exports.Exports(container).routes(),
        *jobs.Jobs(container).routes(),
        *job.Job(container).routes(),
        *notifications.Notifications(container).routes(),
        *connections.Connections(container).routes(),
        *profile.Profile(container).routes(),
        *notification_settings.NotificationSettings(container).routes(),
        *security.Security(container).routes(),
        *data_export.DataExport(container).routes(),
        *deletion.Deletion(container).routes(),
        *sessions.Sessions(container).routes(),
        *tokens.Tokens(container).routes(),
        *admin.routes(container),
        static.Static().route,
    ]
