"""The base of pages for signed-in users."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import ClassVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chassis import errors
from gateway import redirects
from gateway.container import Container
from gateway.identity import authentication, sessions
from gateway.pages import forms, notices, page_request

logger = logging.getLogger(__name__)


class Page:
    """Shows a page, and runs the actions of its forms, which are posted to addresses below it."""

    flash_codes: ClassVar[Mapping[str, str]] = {}
    """Flash codes by error code, for all forms of the class."""

    def __init__(self, container: Container) -> None:
        self._container = container

    def routes(self) -> list[Route]:
        raise NotImplementedError

    def page_routes(
        self,
        path: str,
        show: page_request.Handler,
        actions: Mapping[str, page_request.Handler],
        flash_codes: Mapping[str, str] | None = None,
    ) -> list[Route]:
        """Return the routes of the page at `path` and of its forms; a GET request to a form redirects to the page.

        `flash_codes` maps further error codes to the flash codes with which the page answers them.
        """

        async def go_to_page(request: Request) -> Response:
            return self.redirect(redirects.local(request.url.path.rpartition("/")[0]) or path)

        codes = {**self.flash_codes, **(flash_codes or {})}
        posts = [
            Route(f"{path}/{name}", page_request.form_handler(act, show, flash_codes=codes), methods=["POST"])
            for name, act in actions.items()
        ]
        return [Route(path, show), *posts, *(Route(f"{path}/{name}", go_to_page) for name in actions)]

    async def begin(self, request: Request, *, with_demo: bool = True) -> page_request.Visitor:
        """Load what every page shows, as `page_request.begin` does. Raises `Unauthenticated`."""
        return await page_request.begin(request, self._container, with_demo=with_demo)

    async def without_notices(self, visitor: page_request.Visitor, *job_ids: str) -> page_request.Visitor:
        """Mark the notifications of jobs as read whose end the page shows; return the visitor with the others."""
        # A hidden tab refreshes too, but nobody sees it.
        if visitor.unread is None or authentication.BACKGROUND_HEADER in visitor.request.headers:
            return visitor
        try:
            unread = await notices.mark_read(
                self._container, visitor.session, visitor.unread, set(filter(None, job_ids))
            )
        except errors.Error as error:
            logger.warning("notifications were not marked as read", extra={"cause": error.code})
            return visitor
        return replace(visitor, unread=unread)

    async def read_form(self, request: Request, *names: str) -> tuple[sessions.Session, dict[str, str]]:
        """Return the session and the named fields. Raises `Unauthenticated` or `PermissionDenied` `form_expired`."""
        return await page_request.read_form(request, self._container, *names)

    async def show_again(
        self, error: errors.Error, fields: Mapping[str, str], show: Callable[..., Awaitable[Response]]
    ) -> Response:
        """Show the form that failed with `error`, by `show(form, status=…)`. Raises `error` if it is not about the form."""
        status, form = forms.refused_form(error, fields)
        response = await show(form, status=status)
        response.headers.update(forms.retry_headers(error, status))
        return response

    def redirect(self, path: str, *, flash_code: str = "") -> Response:
        """Redirect to a page, which shows the flash message of the code `flash_code`."""
        return redirects.redirect(path, flash_code=flash_code, secure=self._container.settings.is_https)
