"""gRPC in: request, operation, response. Every call acts for the user of the call, on that user's rows only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from chassis import ids
from chassis.owner_rows import OwnerRows
from chassis.rpc.admission import Context
from repruv.demo.v1 import demo_service_pb2 as pb
from repruv.demo.v1 import demo_service_pb2_grpc
from services.demo import access, convert, operations, preview, read_models, views

_SERVICE = pb.DESCRIPTOR.services_by_name["DemoService"]
SERVICE = _SERVICE.full_name
CALLERS = dict.fromkeys(_SERVICE.methods_by_name, frozenset({"gateway"}))
# auth reads whether demo mode prevents a platform connection.
CALLERS["GetDemo"] |= {"auth"}
CALLERS["StreamOwnerRows"] = frozenset({"auth"})
"""The services that may call each rpc."""
SCOPES = {
    **dict.fromkeys(("GetDemo", "PreviewDemo", "GetDashboard", "ListContent", "ListInteractions"), "read"),
    **dict.fromkeys(("EnableDemo", "DisableDemo", "DismissDemo"), "write"),
}
"""The scope with which an API token may make each rpc."""


class DemoServicer(demo_service_pb2_grpc.DemoServiceServicer):
    """Serves `repruv.demo.v1.DemoService`; the protos document each rpc."""

    def __init__(self, demo: operations.Operations, read_views: views.Views, owner_rows: OwnerRows) -> None:
        self._demo = demo
        self._owner_rows = owner_rows
        self._views = read_views

    async def EnableDemo(self, request: pb.EnableDemoRequest, context: Context) -> pb.EnableDemoResponse:
        access.check_guest(request.interaction_count)
        accepted = await self._demo.enable(
            access.owner(),
            profile_type=request.profile_type,
            niche=request.niche,
            content_count=request.content_count if request.HasField("content_count") else None,
            interaction_count=request.interaction_count if request.HasField("interaction_count") else None,
            expire_after=convert.expire_after_from_proto(request),
            key=request.idempotency_key,
        )
        return pb.EnableDemoResponse(
            demo=convert.demo_to_proto(accepted.mode), job_id=str(accepted.job_id), replayed=accepted.is_replayed
        )

    async def DisableDemo(self, request: pb.DisableDemoRequest, context: Context) -> pb.DisableDemoResponse:
        accepted = await self._demo.disable(access.owner(), key=request.idempotency_key)
        return pb.DisableDemoResponse(
            demo=convert.demo_to_proto(accepted.mode), job_id=str(accepted.job_id), replayed=accepted.is_replayed
        )

    async def DismissDemo(self, request: pb.DismissDemoRequest, context: Context) -> pb.DismissDemoResponse:
        return pb.DismissDemoResponse(demo=convert.demo_to_proto(await self._demo.dismiss(access.owner())))

    async def GetDemo(self, request: pb.GetDemoRequest, context: Context) -> pb.GetDemoResponse:
        mode, job = await self._demo.get(access.owner())
        # Rows are for those who may see the dashboard.
        count = request.arriving_count
        arriving = await self._views.arriving(access.viewer(), count) if count else ()
        return pb.GetDemoResponse(
            demo=convert.demo_to_proto(mode), job=job, arriving=map(convert.interaction_to_proto, arriving)
        )

    async def PreviewDemo(self, request: pb.PreviewDemoRequest, context: Context) -> pb.PreviewDemoResponse:
        access.owner()
        # The first example of a niche and profile type takes some computing.
        example = await asyncio.to_thread(preview.example, request.profile_type, request.niche)
        return convert.example_to_proto(example)

    async def GetDashboard(self, request: pb.GetDashboardRequest, context: Context) -> pb.GetDashboardResponse:
        days = read_models.days(request.days)
        return convert.dashboard_to_proto(await self._views.dashboard(access.viewer()), days)

    async def ListContent(self, request: pb.ListContentRequest, context: Context) -> pb.ListContentResponse:
        page = await self._views.list_content(
            access.viewer(), order_by=request.order_by, page_size=request.page_size, page_token=request.page_token
        )
        return pb.ListContentResponse(
            content=map(convert.content_to_proto, page.content), next_page_token=page.next_page_token
        )

    async def ListInteractions(
        self, request: pb.ListInteractionsRequest, context: Context
    ) -> pb.ListInteractionsResponse:
        filters = read_models.filters(
            kind=request.kind,
            sentiment=request.sentiment,
            needs_reply=request.needs_reply,
            content_id=request.content_id,
            date=request.date,
            day_count=request.days,
            oldest_first=request.oldest_first,
        )
        page = await self._views.list_interactions(
            access.viewer(), filters, page_size=request.page_size, page_token=request.page_token
        )
        return pb.ListInteractionsResponse(
            interactions=map(convert.interaction_to_proto, page.interactions),
            next_page_token=page.next_page_token,
            previous_page_token=page.previous_page_token,
        )

    async def StreamOwnerRows(
        self, request: pb.StreamOwnerRowsRequest, context: Context
    ) -> AsyncGenerator[pb.StreamOwnerRowsResponse, None]:
        async with aclosing(self._owner_rows.stream(ids.parse(request.owner_id, "owner_id"))) as parts:
            async for part in parts:
                yield pb.StreamOwnerRowsResponse(table=part.table, rows=part.rows, reason=part.reason)
