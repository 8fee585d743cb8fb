"""The security events of all accounts."""

from __future__ import annotations

from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chassis import errors
from gateway import views
from gateway.container import Container
from gateway.pages.admin import people
from gateway.pages.admin.admin_page import AdminPage
from repruv.auth.v1 import admin_service_pb2

PATH = "/admin/security-events"
PAGE = 50
KINDS = (
    *(
        "registered",
        "registration_repeated",
        "login_succeeded",
        "login_failed",
        "second_factor_failed",
        "reauthenticated",
    ),
    *("reauthentication_failed", "session_revoked", "sessions_revoked", "password_changed", "password_change_failed"),
    *("password_reset_requested", "password_reset", "email_verification_requested", "email_verified"),
    *("second_factor_enabled", "second_factor_disabled", "recovery_code_used", "recovery_codes_replaced"),
    *("passkey_added", "passkey_removed", "passkey_used", "passkey_failed", "passkey_counter_regressed"),
    *("role_changed", "account_disabled", "account_enabled"),
    *("deletion_requested", "deletion_cancelled", "account_deleted"),
    *("connection_begun", "connected", "connection_failed", "disconnected"),
)
"""The values of `SecurityEvent.kind`."""


class SecurityEvents(AdminPage):
    """`/admin/security-events`."""

    def __init__(self, container: Container) -> None:
        super().__init__(container)
        self.routes = [Route(PATH, self.show)]

    async def show(self, request: Request) -> Response:
        """Show the events, newest first."""
        visitor = await self.begin(request)
        filters = {
            name: request.query_params.get(name, "").replace("\0", "").strip()[:254] for name in ("user", "kind")
        }
        token = request.query_params.get("page_token", "")
        user_id: str | None = ""
        if filters["user"]:
            user_id = await people.owner_id(self._container, filters["user"], user=visitor.identity)
        rpc_request = admin_service_pb2.ListSecurityEventsRequest(
            user_id=user_id or "",
            kinds=[filters["kind"]] if filters["kind"] else [],
            page_size=PAGE,
            page_token=token,
        )
        page = admin_service_pb2.ListSecurityEventsResponse()
        if user_id is not None:
            try:
                page = await self._container.admin.list_security_events.send(visitor.identity, rpc_request)
            except errors.InvalidArgument:
                return self.redirect(_address(filters, ""))
        concerned = [user_id for event in page.events for user_id in (event.user_id, event.actor_id)]
        context = {
            "events": [views.security_event(event) for event in page.events],
            "addresses": await people.addresses(self._container, concerned, user=visitor.identity),
            "event_kinds": KINDS,
            "filters": filters,
            "newest": _address(filters, "") if token else "",
            "older": _address(filters, page.next_page_token) if page.next_page_token else "",
        }
        return visitor.show("admin/security_events", PATH, context)


def _address(filters: dict[str, str], token: str) -> str:
    query = urlencode({name: text for name, text in {**filters, "page_token": token}.items() if text})
    return f"{PATH}?{query}" if query else PATH
