"""Pages that set a forgotten password: the request for an email, and the page behind its link.

They work in any browser, signed in or not. The address of the link contains the token, so its page sends no referrer.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chassis import errors
from gateway import redirects
from gateway.identity.client_info import client_info
from gateway.pages import anonymous, rendering
from gateway.pages.reader import Reader

FORGOT, RESET = "/forgot-password", "/reset-password"


class Recovery(anonymous.Anonymous):
    """`/forgot-password` and `/reset-password`."""

    def routes(self) -> list[Route]:
        return [
            Route(FORGOT, self.show_forgot),
            Route(FORGOT, self.forgot, methods=["POST"]),
            Route(RESET, self.show_reset),
            Route(RESET, self.reset, methods=["POST"]),
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
        response = self.redirect(redirects.LOGIN, flash_code="password_reset")
        self._container.cookie.clear(response)
        return response
