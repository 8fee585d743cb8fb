"""The dashboard."""

from __future__ import annotations

import asyncio
import dataclasses
from datetime import date
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chassis import errors
from gateway import inputs, views
from gateway.pages import lists, loaders, page_request
from gateway.pages.page import Page

RANGES = (7, 30, 90)
"""Days that the charts can show."""
DEFAULT_DAYS = 30
WEEKLY_FROM = 90
"""From how many days on a bar of the charts is a week."""
MAX_SPAN = 7
UNVERIFIED = "email_unverified"


class Dashboard(Page):
    """`/dashboard`."""

    def routes(self) -> list[Route]:
        return [Route(views.DASHBOARD_PATH, self.show)]

    async def show(self, request: Request) -> Response:
        """Show the numbers, the latest interactions and the most viewed content, or why they are not visible yet."""
        visitor = await self.begin(request, with_demo=False)
        if not visitor.session.user.can_access_dashboard:
            return self._show_closed(visitor)
        filters, days = _filters_of(request), _days_of(request)
        try:
            overview, connections = await asyncio.gather(
                loaders.overview(self._container.demo, visitor.identity, filters, days=2 * days),
                loaders.connections(self._container.connections, visitor.identity),
            )
        except errors.InvalidArgument:
            # A token of other filters has no older page.
            return self.redirect(_address(filters, days))
        except errors.PermissionDenied as error:
            # The services check the signed identity, which may be minutes older than the session.
            if error.code != UNVERIFIED:
                raise
            return self._show_closed(visitor)
        if visitor.is_fragment and overview.demo["status"] in ("enabled", "disabled"):
            # Its reader watched it change; who comes back finds it among the jobs that finished recently.
            visitor = await self.without_notices(visitor, overview.demo["job_id"])
        context: dict[str, Any] = {
            "step": "week" if days >= WEEKLY_FROM else "day",
            "demo": overview.demo,
            "metrics": overview.metrics,
            "interactions": overview.interactions,
            "filters": filters,
            "choices": loaders,
            "orders": lists.ORDERS,
            "order": filters.order,
            **lists.neighbours(partial(_address, filters, days), filters.page_token, overview.previous, overview.next),
            "ranges": [(each, _address(dataclasses.replace(filters, page_token=""), each)) for each in RANGES],
            "days": days,
            "default_days": DEFAULT_DAYS,
            "address": partial(_list_address, days),
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
        date=_day(query.get("date", "")),
        span=_span_of(request),
        order=lists.order_of(request),
        page_token=inputs.plain(query.get("page_token", "")),
    )


def _days_of(request: Request) -> int:
    """Return how many days the charts show."""
    text = request.query_params.get("days", "")
    return next((days for days in RANGES if text == str(days)), DEFAULT_DAYS)


def _span_of(request: Request) -> int:
    """Return how many days from the date of the filters on are listed."""
    text = request.query_params.get("span", "")
    return next((span for span in range(1, MAX_SPAN + 1) if text == str(span)), 1)


def _day(text: str) -> str:
    """Return a day in the form YYYY-MM-DD; empty for anything else, and for the last year of the calendar."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return ""
    return text if text == day.isoformat() and day.year < date.max.year else ""


def _list_address(days: int, **filters: Any) -> str:
    """Return the address of the list with these filters alone."""
    return _address(loaders.InteractionFilter(**filters), days)


def _address(filters: loaders.InteractionFilter, days: int, page_token: str = "") -> str:
    query = {
        "days": "" if days == DEFAULT_DAYS else str(days),
        "kind": filters.kind,
        "sentiment": filters.sentiment,
        "needs_reply": "yes" if filters.needs_reply else "",
        "date": filters.date,
        "span": str(filters.span) if filters.date and filters.span > 1 else "",
        "order": filters.order,
    }
    anchor = "#recent" if filters.is_narrow or filters.order or page_token else ""
    return lists.address(views.DASHBOARD_PATH, query, page_token) + anchor
