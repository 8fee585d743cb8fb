"""Pages behind the links of a change of address: confirming the new address, and keeping the old one."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chassis import errors
from gateway.container import Container
from gateway.identity.client_info import client_info
from gateway.pages import anonymous

CONFIRM, REVOKE = "/confirm-email", "/revoke-email"


class EmailChange(anonymous.Anonymous):
    """`/confirm-email` and `/revoke-email`."""

    def __init__(self, container: Container) -> None:
        super().__init__(container)
        self.routes = [
            Route(CONFIRM, self.show_confirm),
            Route(CONFIRM, self.confirm, methods=["POST"]),
            Route(REVOKE, self.show_revoke),
            Route(REVOKE, self.revoke, methods=["POST"]),
        ]

    async def show_confirm(self, request: Request) -> Response:
        """Offer to confirm the new address."""
        return self.show_link(request, "confirm_email.html")

    async def confirm(self, request: Request) -> Response:
        """Change the address."""
        fields = await self.read(request, "token")
        try:
            self.require(request, fields)
            await self._container.auth.confirm_email_change(token=fields["token"], client=client_info(request))
        except errors.Error as error:
            return self.show_link_again(request, "confirm_email.html", fields, error)
        self._container.sessions.forget_all()
        return self.see("/", say="email_changed")

    async def show_revoke(self, request: Request) -> Response:
        """Offer to keep the old address."""
        return self.show_link(request, "revoke_email.html")

    async def revoke(self, request: Request) -> Response:
        """Undo the change and end all sessions; a new password is the next step."""
        fields = await self.read(request, "token")
        try:
            self.require(request, fields)
            await self._container.auth.revoke_email_change(token=fields["token"], client=client_info(request))
        except errors.Error as error:
            return self.show_link_again(request, "revoke_email.html", fields, error)
        self._container.sessions.forget_all()
        response = self.see("/forgot-password", say="email_kept")
        self._container.cookie.clear(response)
        return response
