"""The page of platform connections: their states, connecting and disconnecting."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chassis import errors
from gateway import views
from gateway.middleware import headers
from gateway.pages import loaders
from gateway.pages.page import Page

PATH = views.CONNECTIONS_PATH
_FLASH_CODES = {
    "connection_connected": "connection_changed",
    "connection_disconnecting": "connection_changed",
    "demo_mode_active": "connection_changed",
    "platform_not_found": "platform_unknown",
    "unavailable": "connection_unavailable",
    "deadline_exceeded": "unanswered",
    "too_many_attempts": "too_much",
}


class Connections(Page):
    """`/settings/connections`."""

    def routes(self) -> list[Route]:
        actions = {"connect": self.connect, "disconnect": self.disconnect}
        return self.page_routes(PATH, self.show, actions, _FLASH_CODES)

    async def show(self, request: Request) -> Response:
        visitor = await self.begin(request, with_demo=False)
        demo, connections = await asyncio.gather(
            loaders.demo_status(self._container.demo, visitor.identity),
            loaders.connections(self._container.connections, visitor.identity),
        )
        settled = [each for each in connections or () if each["status"] not in views.CONNECTION_TRANSITIONAL]
        visitor = await self.without_notices(visitor, *(each["job_id"] or "" for each in settled))
        context = {"demo": demo, "connections": connections, "confirm": request.query_params.get("confirm")}
        return visitor.show("connections", PATH, context)

    async def connect(self, request: Request) -> Response:
        """Show a page that redirects to the platform; the content security policy forbids forms to do so."""
        session, fields = await self.read_form(request, "platform")
        authorization = await self._container.connections.begin_connect(
            session.identity, platform=fields["platform"], return_to=PATH
        )
        if urlsplit(authorization.authorization_url).scheme not in {"https", "http"}:
            raise errors.Internal("The platform's page of consent is not at an http or https address.")
        visitor = await self.begin(request)
        context = {
            "connection": views.connection(authorization.connection),
            "authorization_url": authorization.authorization_url,
        }
        response = visitor.show("connecting", PATH, context)
        response.headers.update(headers.NO_REFERRER)
        return response

    async def disconnect(self, request: Request) -> Response:
        """Disconnect, or dismiss a failure."""
        session, fields = await self.read_form(request, "platform")
        connection = (
            await self._container.connections.disconnect(session.identity, platform=fields["platform"])
        ).connection
        is_disconnecting = views.connection_state(connection) in views.CONNECTION_TRANSITIONAL
        return self.redirect(PATH, flash_code="disconnecting" if is_disconnecting else "")
