"""The base of pages for admins. Other users get 404."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from starlette.requests import Request

from chassis import errors
from gateway.identity import sessions
from gateway.pages import page_request
from gateway.pages.page import Page
from repruv.auth.v1 import auth_pb2


class AdminPage(Page):
    """A page for admins; the services check the role again."""

    flash_codes: ClassVar[Mapping[str, str]] = {"unavailable": "admin_unavailable", "deadline_exceeded": "unanswered"}

    async def begin(self, request: Request, *, with_demo: bool = False) -> page_request.Visitor:
        """Load what every admin page shows. Raises `NotFound` for other users."""
        visitor = await super().begin(request, with_demo=with_demo)
        _require_admin(visitor.session)
        return visitor

    async def read_form(self, request: Request, *names: str) -> tuple[sessions.Session, dict[str, str]]:
        """Return the session of an admin and the named fields. Raises `NotFound` for other users."""
        _require_admin(await page_request.session_of(request, self._container))
        return await super().read_form(request, *names)


def _require_admin(session: sessions.Session) -> None:
    if session.user.role != auth_pb2.USER_ROLE_ADMIN:
        raise errors.NotFound("There is nothing here.")
