"""The dashboard."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway import parts, views
from gateway.pages import reading, visit


class Dashboard:
    """`/dashboard`."""

    def __init__(self, assembled: parts.Parts) -> None:
        self._parts = assembled
        self.routes = [Route(views.DASHBOARD_PATH, self.show)]

    async def show(self, request: Request) -> Response:
        """Show the numbers, the latest interactions and the most viewed content."""
        visitor = await visit.begin(request, self._parts)
        found = await reading.overview(self._parts.demo, visitor.identity)
        context = {
            "demo": found.demo,
            "metrics": found.metrics,
            "interactions": found.interactions,
            "content": found.content,
        }
        return visitor.show("dashboard", views.DASHBOARD_PATH, context)
