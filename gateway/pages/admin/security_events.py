"""The security events of all accounts."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chassis import errors
from gateway import views
from gateway.container import Container
from gateway.pages import orders
from gateway.pages.admin import lists, people
from gateway.pages.admin.admin_page import AdminPage
from repruv.auth.v1 import admin_service_pb2

PATH = "/admin/security-events"
KINDS = (
    *("registered", "registration_repeated", "login_succeeded", "login_failed", "second_factor_failed"),
    *("reauthenticated", "reauthentication_failed", "session_revoked", "sessions_revoked"),
    *("password_changed", "password_change_failed", "password_reset_requested", "password_reset"),
    *("email_verification_requested", "email_verified"),
    *("email_change_requested", "email_change_cancelled", "email_changed", "email_change_revoked"),
    *("second_factor_enabled", "second_factor_disabled", "recovery_code_used", "recovery_codes_replaced"),
    *("passkey_added", "passkey_removed", "passkey_used", "passkey_failed", "passkey_counter_regressed"),
    *("api_token_created", "api_token_revoked", "data_export_requested", "data_export_downloaded"),
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
        """Show the events, newest first unless the address says otherwise."""
        visitor = await self.begin(request)
        filters = {
            name: request.query_params.get(name, "").replace("\0", "").strip()[:254] for name in ("user", "kind")
        }
        filters["order"] = orders.order_of(request)
        token = request.query_params.get("page_token", "")
        user_id: str | None = ""
        if filters["user"]:
            user_id = await people.owner_id(self._container, filters["user"], user=visitor.identity)
        rpc_request = admin_service_pb2.ListSecurityEventsRequest(
            user_id=user_id or "",
            kinds=[filters["kind"]] if filters["kind"] else [],
            page_size=lists.PAGE,
            page_token=token,
            oldest_first=bool(filters["order"]),
            max_count=lists.MAX_COUNT,
        )
        page = admin_service_pb2.ListSecurityEventsResponse()
        if user_id is not None:
            try:
                page = await self._container.admin.list_security_events.send(visitor.identity, rpc_request)
            except errors.InvalidArgument:
                return self.redirect(lists.address(PATH, filters))
        concerned = [user_id for event in page.events for user_id in (event.user_id, event.actor_id)]
        context = {
            "events": [views.security_event(event) for event in page.events],
            "addresses": await people.addresses(self._container, concerned, user=visitor.identity),
            "event_kinds": KINDS,
            "filters": filters,
            **lists.context(PATH, filters, page, token),
        }
        return visitor.show("admin/security_events", PATH, context)
