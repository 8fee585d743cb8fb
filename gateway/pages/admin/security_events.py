"""The security events of all accounts."""

from __future__ import annotations

from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chassis import errors
from gateway import inputs, labels, views
from gateway.pages import lists
from gateway.pages.admin import people
from gateway.pages.admin.admin_page import AdminPage
from repruv.auth.v1 import admin_service_pb2

PATH = "/admin/security-events"


class SecurityEvents(AdminPage):
    """`/admin/security-events`."""

    def routes(self) -> list[Route]:
        return [Route(PATH, self.show)]

    async def show(self, request: Request) -> Response:
        """Show the events, newest first unless the address says otherwise."""
        visitor = await self.begin(request)
        filters = {name: inputs.plain(request.query_params.get(name, ""))[:254] for name in ("user", "kind")}
        filters["order"] = lists.order_of(request)
        token = request.query_params.get("page_token", "")
        user_id: str | None = ""
        if filters["user"]:
            user_id = await people.owner_id(self._container, filters["user"], identity=visitor.identity)
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
        user_ids = [user_id for event in page.events for user_id in (event.user_id, event.actor_id)]
        context = {
            "events": [views.security_event(event) for event in page.events],
            "addresses": await people.addresses(self._container, user_ids, identity=visitor.identity),
            "event_kinds": labels.SECURITY_EVENTS,
            "filters": filters,
            **lists.context(partial(lists.address, PATH, filters), page, order=filters["order"], page_token=token),
        }
        return visitor.show("admin/security_events", PATH, context)
