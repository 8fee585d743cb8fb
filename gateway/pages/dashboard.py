"""The dashboard."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chassis import errors
from gateway import views
from gateway.container import Container
from gateway.pages import loaders, page_request
from gateway.pages.page import Page

UNVERIFIED = "email_unverified"


class Dashboard(Page):
    """`/dashboard`."""

    def __init__(self, container: Container) -> None:
        super().__init__(container)
        self.routes = [Route(views.DASHBOARD_PATH, self.show)]

    async def show(self, request: Request) -> Response:
        """Show the numbers, the latest interactions and the most viewed content, or why they are not visible yet."""
        visitor = await self.begin(request)
        if not visitor.session.user.can_access_dashboard:
            return self._show_closed(visitor)
        filters = _filters_of(request)
        try:
            overview, connections = await asyncio.gather(
                loaders.overview(self._container.demo, visitor.identity, filters),
                loaders.connections(self._container.connections, visitor.identity),
            )
        except errors.InvalidArgument:
            # A token of other filters has no older page.
            return self.see(_address(filters))
        except errors.PermissionDenied as error:
            # The services check the signed identity, which may be minutes older than the session.
            if error.code != UNVERIFIED:
                raise
            return self._show_closed(visitor)
        context: dict[str, Any] = {
            "demo": overview.demo,
            "metrics": overview.metrics,
            "interactions": overview.interactions,
            "filters": filters,
            "choices": loaders,
            "newest": _address(filters) if filters.page_token else "",
            "older": _address(filters, overview.older) if overview.older else "",
            "content": overview.content,
            "connections": connections,
        }
        return visitor.show("dashboard", views.DASHBOARD_PATH, context)

    def _show_closed(self, visitor: page_request.Visitor) -> Response:
        return visitor.show("dashboard_closed", views.DASHBOARD_PATH, {})


def _filters_of(request: Request) -> loaders.InteractionFilter:
    """Return the filters of a request; invalid ones are ignored."""
    query = request.query_params
    kind, sentiment = query.get("kind", ""), query.get("sentiment", "")
    return loaders.InteractionFilter(
        kind=kind if kind in loaders.KINDS else "",
        sentiment=sentiment if sentiment in loaders.SENTIMENTS else "",
        needs_reply=query.get("needs_reply") == "yes",
        page_token=query.get("page_token", "").encode("utf-8", "replace").decode().replace("\0", ""),
    )


def _address(filters: loaders.InteractionFilter, page_token: str = "") -> str:
    query = {
        "kind": filters.kind,
        "sentiment": filters.sentiment,
        "needs_reply": "yes" if filters.needs_reply else "",
        "page_token": page_token,
    }
    query_string = urlencode({name: value for name, value in query.items() if value})
    return f"{views.DASHBOARD_PATH}?{query_string}#recent" if query_string else views.DASHBOARD_PATH
