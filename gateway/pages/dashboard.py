"""The dashboard."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chassis import errors
from gateway import parts, views
from gateway.pages import reading, redirects, visit

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
        wish = _wish_of(request)
        try:
            found, connections = await asyncio.gather(
                reading.overview(self._parts.demo, visitor.identity, wish),
                reading.connections(self._parts.connections, visitor.identity),
            )
        except errors.InvalidArgument:
            # A page of other filters: there is nothing older to show.
            return redirects.see(_address(wish), secure=self._parts.settings.is_https)
        except errors.PermissionDenied as error:
            # The services judge by the signed identity, which may be minutes older than what auth said.
            if error.code != UNVERIFIED:
                raise
            return self._show_closed(visitor)
        context: dict[str, Any] = {
            "demo": found.demo,
            "metrics": found.metrics,
            "interactions": found.interactions,
            "wish": wish,
            "choices": reading,
            "newest": _address(wish) if wish.page_token else "",
            "older": _address(wish, found.older) if found.older else "",
            "content": found.content,
            "connections": connections,
        }
        return visitor.show("dashboard", views.DASHBOARD_PATH, context)

    def _show_closed(self, visitor: visit.Visit) -> Response:
        return visitor.show("dashboard_closed", views.DASHBOARD_PATH, {})


def _wish_of(request: Request) -> reading.Wish:
    """Read which interactions are wanted; what makes no sense is left out."""
    query = request.query_params
    kind, sentiment = query.get("kind", ""), query.get("sentiment", "")
    return reading.Wish(
        kind=kind if kind in reading.KINDS else "",
        sentiment=sentiment if sentiment in reading.SENTIMENTS else "",
        needs_reply=query.get("needs_reply") == "yes",
        page_token=query.get("page_token", "").encode("utf-8", "replace").decode().replace("\0", ""),
    )


def _address(wish: reading.Wish, page_token: str = "") -> str:
    query = {
        "kind": wish.kind,
        "sentiment": wish.sentiment,
        "needs_reply": "yes" if wish.needs_reply else "",
        "page_token": page_token,
    }
    told = urlencode({name: value for name, value in query.items() if value})
    return f"{views.DASHBOARD_PATH}?{told}#recent" if told else views.DASHBOARD_PATH
