"""The page of notifications: finished jobs that the user has not read."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chassis import errors, ids
from gateway import redirects
from gateway.pages import notices
from gateway.pages.page import Page

PATH = "/notifications"
PAGE = 20
_FLASH_CODES: Mapping[str, str] = {"unavailable": "job_unavailable", "deadline_exceeded": "unanswered"}


class Notifications(Page):
    """`/notifications`."""

    def routes(self) -> list[Route]:
        return self.page_routes(PATH, self.show, {"read": self.read}, _FLASH_CODES)

    async def show(self, request: Request) -> Response:
        """Show unread notifications of the wanted categories, newest first."""
        visitor = await self.begin(request)
        token = request.query_params.get("page_token", "")
        try:
            page = await notices.unread(self._container, visitor.session, page_size=PAGE, page_token=token)
        except errors.InvalidArgument:
            return self.redirect(PATH)
        except errors.Unavailable:
            return visitor.show("notifications", PATH, {"page": None, "newest": "", "muted": []}, status=503)
        muted = notices.muted_of(visitor.session.user)
        context = {
            "page": page,
            "newest": PATH if token else "",
            "muted": [category for category in notices.CATEGORIES if category in muted],
            "has_any": len(muted) < len(notices.CATEGORIES),
        }
        return visitor.show("notifications", PATH, context)

    async def read(self, request: Request) -> Response:
        """Mark one notification as read, or all if the form names none; redirect to the page of the form."""
        session, fields = await self.read_form(request, "job_id", "origin")
        job_ids = [str(ids.parse(fields["job_id"], "job_id"))] if fields["job_id"] else []
        await self._container.jobs.mark_notifications_read(session.identity, job_ids=job_ids)
        return self.redirect(redirects.local(fields["origin"]) or PATH)
