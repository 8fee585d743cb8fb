"""The dashboard."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chassis import errors
from gateway import parts, views
from gateway.pages import reading, visit

UNVERIFIED = "email_unverified"


class Dashboard:
    """`/dashboard`."""

    def __init__(self, assembled: parts.Parts) -> None:
        self._parts = assembled
        self.routes = [Route(views.DASHBOARD_PATH, self.show)]

    async def show(self, request: Request) -> Response:
        """Show the numbers, the latest interactions and the most viewed content; or why there is nothing to see yet."""
        visitor = await visit.begin(request, self._parts)
        if not visitor.session.user.can_access_dashboard:
            return self._show_closed(visitor)
        try:
            found, connections = await asyncio.gather(
                reading.overview(self._parts.demo, visitor.identity),
                reading.connections(self._parts.connections, visitor.identity),
            )
        except errors.PermissionDenied as error:
            # The services judge by the signed identity, which may be minutes older than what auth said.
            if error.code != UNVERIFIED:
                raise
            return self._show_closed(visitor)
        context: dict[str, Any] = {
            "demo": found.demo,
            "metrics": found.metrics,
            "interactions": found.interactions,
            "content": found.content,
            "connections": connections,
        }
        return visitor.show("dashboard", views.DASHBOARD_PATH, context)

    def _show_closed(self, visitor: visit.Visit) -> Response:
        return visitor.show("dashboard_closed", views.DASHBOARD_PATH, {})
