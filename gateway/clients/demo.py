"""Demo mode and what it shows."""

from __future__ import annotations

from chassis.rpc import client
from gateway.clients import service
from repruv.demo.v1 import demo_service_pb2, demo_service_pb2_grpc


class Demo(service.Client):
    """The demo service."""

    def __init__(self, target: str, caller: client.Caller) -> None:
        # Enable and disable can be repeated since the gateway never sends them without an idempotency key.
        reads = ("GetDemo", "PreviewDemo", "GetDashboard", "ListContent", "ListInteractions")
        super().__init__("demo", target, caller, (*reads, "EnableDemo", "DisableDemo", "DismissDemo"))
        self._stub = demo_service_pb2_grpc.DemoServiceStub(self._channel)

    async def enable_demo(
        self, request: demo_service_pb2.EnableDemoRequest, *, user: str
    ) -> demo_service_pb2.EnableDemoResponse:
        """Ask for demo data."""
        return await self.call(self._stub.EnableDemo, request, user)

    async def disable_demo(self, *, idempotency_key: str, user: str) -> demo_service_pb2.DisableDemoResponse:
        """Ask to remove the demo data."""
        request = demo_service_pb2.DisableDemoRequest(idempotency_key=idempotency_key)
        return await self.call(self._stub.DisableDemo, request, user)

    async def dismiss_demo(self, *, user: str) -> demo_service_pb2.DismissDemoResponse:
        """Set a failed demo mode back to disabled."""
        return await self.call(self._stub.DismissDemo, demo_service_pb2.DismissDemoRequest(), user)

    async def get_demo(self, *, user: str, quick: bool = False) -> demo_service_pb2.GetDemoResponse:
        """Answer how demo mode stands."""
        return await self.call(self._stub.GetDemo, demo_service_pb2.GetDemoRequest(), user, quick=quick)

    async def preview_demo(self, profile_type: str, niche: str, *, user: str) -> demo_service_pb2.PreviewDemoResponse:
        """Give an example of what demo mode would show."""
        request = demo_service_pb2.PreviewDemoRequest(profile_type=profile_type, niche=niche)
        return await self.call(self._stub.PreviewDemo, request, user)

    async def get_dashboard(self, *, user: str, quick: bool = False) -> demo_service_pb2.GetDashboardResponse:
        """Answer the dashboard's numbers."""
        return await self.call(self._stub.GetDashboard, demo_service_pb2.GetDashboardRequest(), user, quick=quick)

    async def list_content(
        self, request: demo_service_pb2.ListContentRequest, *, user: str, quick: bool = False
    ) -> demo_service_pb2.ListContentResponse:
        """Give a page of content items."""
        return await self.call(self._stub.ListContent, request, user, quick=quick)

    async def list_interactions(
        self, request: demo_service_pb2.ListInteractionsRequest, *, user: str, quick: bool = False
    ) -> demo_service_pb2.ListInteractionsResponse:
        """Give a page of interactions."""
        return await self.call(self._stub.ListInteractions, request, user, quick=quick)
