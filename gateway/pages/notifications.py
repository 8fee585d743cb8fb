"""Notifications: what ended while a person was away."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chassis import errors, ids
from gateway import redirects, views
from gateway.container import Container
from gateway.pages import loaders, page_request

PATH = "/notifications"
PAGE = 20
_SAYS: Mapping[str, str] = {"unavailable": "job_unavailable", "deadline_exceeded": "unanswered"}


class Notifications:
    """`/notifications`."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self._secure = container.settings.is_https
        self.routes = [
            Route(PATH, self.show),
            Route(f"{PATH}/read", page_request.form_handler(self.read, self.show, says=_SAYS), methods=["POST"]),
            Route(f"{PATH}/read", self.go_to_page),
        ]

    async def show(self, request: Request) -> Response:
        """Show what was not read yet, the latest first."""
        visitor = await page_request.begin(request, self._container)
        token = request.query_params.get("page_token", "")
        demo = await loaders.demo_status(self._container.demo, visitor.identity)
        try:
            page = views.notifications(
                await self._container.jobs.list_notifications(page_size=PAGE, page_token=token, user=visitor.identity)
            )
        except errors.InvalidArgument:
            return redirects.see(PATH, secure=self._secure)
        except errors.Unavailable:
            return visitor.show("notifications", PATH, {"demo": demo, "page": None, "newest": ""}, status=503)
        return visitor.show("notifications", PATH, {"demo": demo, "page": page, "newest": PATH if token else ""})

    async def go_to_page(self, request: Request) -> Response:
        """Send to the page."""
        return redirects.see(PATH, secure=self._secure)

    async def read(self, request: Request) -> Response:
        """Note that one was read, or all of them if none is named, and go on to where the form says."""
        session, sent = await page_request.read_form(request, self._container, "job_id", "origin")
        named = [str(ids.parse(sent["job_id"], "job_id"))] if sent["job_id"] else []
        await self._container.jobs.mark_notifications_read(named, user=session.identity)
        return redirects.see(redirects.local(sent["origin"]) or PATH, secure=self._secure)
