"""Failed jobs, grouped by what went wrong."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chassis import errors
from gateway import inputs
from gateway.pages.admin.admin_page import AdminPage
from gateway.views import engine
from repruv.jobs.v1 import admin_service_pb2

PATH = "/admin/errors"


class Errors(AdminPage):
    """`/admin/errors`."""

    def routes(self) -> list[Route]:
        return [Route(PATH, self.show)]

    async def show(self, request: Request) -> Response:
        """Show the groups, the latest failure first."""
        visitor = await self.begin(request)
        kind = inputs.plain(request.query_params.get("kind", ""))[:100]
        try:
            response = await self._container.engine.list_error_groups(visitor.identity, kind=kind)
        except errors.InvalidArgument:
            response = admin_service_pb2.ListErrorGroupsResponse()
        context = {"groups": [engine.error_group(group) for group in response.groups], "kind": kind}
        return visitor.show("admin/errors", PATH, context)
