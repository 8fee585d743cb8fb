"""The page of notifications: finished jobs that the user has not read."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chassis import errors, ids
from gateway import redirects, views
from gateway.container import Container
from gateway.pages.page import Page

PATH = "/notifications"
PAGE = 20
_SAYS: Mapping[str, str] = {"unavailable": "job_unavailable", "deadline_exceeded": "unanswered"}


class Notifications(Page):
    """`/notifications`."""

    def __init__(self, container: Container) -> None:
        super().__init__(container)
        self.routes = [
            Route(PATH, self.show),
            *self.form_routes(PATH, self.show, {"read": self.read}, _SAYS),
        ]

    async def show(self, request: Request) -> Response:
        """Show unread notifications, newest first."""
        visitor = await self.begin(request)
        token = request.query_params.get("page_token", "")
        try:
            page = views.notifications(
                await self._container.jobs.list_notifications(visitor.identity, page_size=PAGE, page_token=token)
            )
        except errors.InvalidArgument:
            return self.see(PATH)
        except errors.Unavailable:
            return visitor.show("notifications", PATH, {"page": None, "newest": ""}, status=503)
        return visitor.show("notifications", PATH, {"page": page, "newest": PATH if token else ""})

    async def read(self, request: Request) -> Response:
        """Mark one notification as read, or all if the form names none; redirect to the page of the form."""
        session, fields = await self.read_form(request, "job_id", "origin")
        job_ids = [str(ids.parse(fields["job_id"], "job_id"))] if fields["job_id"] else []
        await self._container.jobs.mark_notifications_read(session.identity, job_ids=job_ids)
        return self.see(redirects.local(fields["origin"]) or PATH)
