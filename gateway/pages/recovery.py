"""Pages behind links in emails: a new password, a verified address, an account that stays.

They work in any browser, signed in or not.

Email scanners follow links, so a GET request changes nothing: the page has a button. The address contains the token, so these
pages send no referrer.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chassis import errors
from gateway import redirects
from gateway.container import Container
from gateway.identity.client_info import client_info
from gateway.pages import anonymous, rendering
from gateway.pages.reader import Reader

FORGOT, RESET, VERIFY, KEEP = "/forgot-password", "/reset-password", "/verify-email", "/keep-account"


class Recovery(anonymous.Anonymous):
    """`/forgot-password`, `/reset-password`, `/verify-email` and `/keep-account`."""

    def __init__(self, container: Container) -> None:
        super().__init__(container)
        self.routes = [
            Route(FORGOT, self.show_forgot),
            Route(FORGOT, self.forgot, methods=["POST"]),
            Route(RESET, self.show_reset),
            Route(RESET, self.reset, methods=["POST"]),
            Route(VERIFY, self.show_verify),
            Route(VERIFY, self.verify, methods=["POST"]),
            Route(KEEP, self.show_keep),
            Route(KEEP, self.keep, methods=["POST"]),
        ]

    async def show_forgot(self, request: Request) -> Response:
        """Ask for the address."""
        return self.show(request, "forgot_password.html")

    async def forgot(self, request: Request) -> Response:
        """Send an email if the address has an account; the response is the same if not."""
        fields = await self.read(request, "email")
        try:
            self.require(request, fields)
            await self._container.auth.request_password_reset(email=fields["email"], client=client_info(request))
        except errors.Error as error:
            return self.show_again(request, "forgot_password.html", fields, error)
        return rendering.answer(
            Reader.of_browser(request),
            "mail_sent.html",
            {"email": fields["email"], "flash": None, "purpose": "reset"},
            202,
        )

    async def show_reset(self, request: Request) -> Response:
        """Ask for the new password."""
        return self.show_link(request, "reset_password.html")

    async def reset(self, request: Request) -> Response:
        """Set the password and end all sessions."""
        fields = await self.read(request, "token", "password")
        try:
            self.require(request, fields)
            await self._container.auth.reset_password(
                token=fields["token"], password=fields["password"], client=client_info(request)
            )
        except errors.Error as error:
            return self.show_link_again(request, "reset_password.html", fields, error)
        self._container.sessions.forget_all()
        response = self.see(redirects.LOGIN, say="password_reset")
        self._container.cookie.clear(response)
        return response

    async def show_verify(self, request: Request) -> Response:
        """Offer to verify the address."""
        return self.show_link(request, "verify_email.html")

    async def verify(self, request: Request) -> Response:
        """Verify it."""
        fields = await self.read(request, "token")
        try:
            self.require(request, fields)
            await self._container.auth.verify_email(token=fields["token"], client=client_info(request))
        except errors.Error as error:
            return self.show_link_again(request, "verify_email.html", fields, error)
        self._container.sessions.forget_all()
        return self.see("/", say="email_verified")

    async def show_keep(self, request: Request) -> Response:
        """Offer to keep the account that is to be deleted."""
        return self.show_link(request, "keep_account.html")

    async def keep(self, request: Request) -> Response:
        """Keep it."""
        fields = await self.read(request, "token")
        try:
            self.require(request, fields)
            await self._container.auth.cancel_deletion_by_link(token=fields["token"], client=client_info(request))
        except errors.Error as error:
            return self.show_link_again(request, "keep_account.html", fields, error)
        self._container.sessions.forget_all()
        return self.see("/", say="account_kept")
