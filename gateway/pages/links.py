"""Pages behind links in emails that need one button: an address verified, confirmed or kept, an account that stays.

They work in any browser, signed in or not.

Email scanners follow links, so a GET request changes nothing. The address contains the token, so these pages send no referrer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chassis import errors
from gateway.identity.client_info import client_info
from gateway.pages import anonymous


@dataclass(frozen=True, slots=True, kw_only=True)
class _Link:
    """A page: its template, the call that its button makes, and what follows."""

    path: str
    template: str
    call: Callable[..., Awaitable[Any]]
    flash_code: str
    next_path: str = "/"
    signs_out: bool = False
    """Whether the call has ended all sessions."""


class Links(anonymous.Anonymous):
    """`/verify-email`, `/confirm-email`, `/revoke-email` and `/keep-account`."""

    def routes(self) -> list[Route]:
        auth = self._container.auth
        links = (
            _Link(
                path="/verify-email", template="verify_email.html", call=auth.verify_email, flash_code="email_verified"
            ),
            _Link(
                path="/confirm-email",
                template="confirm_email.html",
                call=auth.confirm_email_change,
                flash_code="email_changed",
            ),
            # A new password is the next step: somebody else asked for the change.
            _Link(
                path="/revoke-email",
                template="revoke_email.html",
                call=auth.revoke_email_change,
                flash_code="email_kept",
                next_path="/forgot-password",
                signs_out=True,
            ),
            _Link(
                path="/keep-account",
                template="keep_account.html",
                call=auth.cancel_deletion_by_link,
                flash_code="account_kept",
            ),
        )
        return [
            route
            for link in links
            for route in (
                Route(link.path, partial(self.show_page, link)),
                Route(link.path, partial(self.use, link), methods=["POST"]),
            )
        ]

    async def show_page(self, link: _Link, request: Request) -> Response:
        """Show the button."""
        return self.show_link(request, link.template)

    async def use(self, link: _Link, request: Request) -> Response:
        """Make the call of the button."""
        fields = await self.read(request, "token")
        try:
            self.require(request, fields)
            await link.call(token=fields["token"], client=client_info(request))
        except errors.Error as error:
            return self.show_link_again(request, link.template, fields, error)
        self._container.sessions.forget_all()
        response = self.redirect(link.next_path, flash_code=link.flash_code)
        if link.signs_out:
            self._container.cookie.clear(response)
        return response
