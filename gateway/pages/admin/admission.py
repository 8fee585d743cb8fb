"""Who may look at pages for admins, and how their forms are taken."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chassis import errors
from gateway import redirects
from gateway.container import Container
from gateway.identity import sessions
from gateway.pages import page_request
from repruv.auth.v1 import auth_pb2

SAYS: Mapping[str, str] = {"unavailable": "admin_unavailable", "deadline_exceeded": "unanswered"}
"""Flash codes of errors on all admin pages."""


async def begin(request: Request, container: Container) -> page_request.Visit:
    """Load what every admin page needs. Raises `NotFound` for other users."""
    visitor = await page_request.begin(request, container)
    _require_admin(visitor.session)
    return visitor


async def read_form(request: Request, container: Container, *names: str) -> tuple[sessions.Session, dict[str, str]]:
    """Return the session of an admin and the named fields of a form. Raises `NotFound` for other users."""
    _require_admin(await page_request.session_of(request, container))
    return await page_request.read_form(request, container, *names)


def forms_of(
    path: str,
    show: page_request.Handler,
    actions: Mapping[str, page_request.Handler],
    says: Mapping[str, str] | None = None,
) -> list[Route]:
    """Return the routes of the forms below a page; GET requests to them redirect to the page."""

    async def go_to_page(request: Request) -> Response:
        return redirects.see(redirects.local(request.url.path.rpartition("/")[0]) or path, secure=False)

    flash_codes = {**SAYS, **(says or {})}
    posts = [
        Route(f"{path}/{name}", page_request.form_handler(act, show, says=flash_codes), methods=["POST"])
        for name, act in actions.items()
    ]
    return [*posts, *(Route(f"{path}/{name}", go_to_page) for name in actions)]


def _require_admin(session: sessions.Session) -> None:
    if session.user.role != auth_pb2.USER_ROLE_ADMIN:
        raise errors.NotFound("There is nothing here.")
