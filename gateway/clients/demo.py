"""Demo mode and what it shows."""

from __future__ import annotations

import logging

from chassis import errors
from chassis.rpc import client
from gateway.clients import service
from repruv.demo.v1 import demo_pb2, demo_service_pb2, demo_service_pb2_grpc

logger = logging.getLogger(__name__)


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
        """Start enabling demo mode."""
        return await self.call(self._stub.EnableDemo, request, user)

    async def disable_demo(self, *, idempotency_key: str, user: str) -> demo_service_pb2.DisableDemoResponse:
        """Start removing the demo data."""
        request = demo_service_pb2.DisableDemoRequest(idempotency_key=idempotency_key)
        return await self.call(self._stub.DisableDemo, request, user)

    async def dismiss_demo(self, *, user: str) -> demo_service_pb2.DismissDemoResponse:
        """Set a failed demo mode back to disabled."""
        return await self.call(self._stub.DismissDemo, demo_service_pb2.DismissDemoRequest(), user)

    async def get_demo(self, *, user: str, quick: bool = False) -> demo_service_pb2.GetDemoResponse:
        """Return the state of demo mode and its job."""
        return await self.call(self._stub.GetDemo, demo_service_pb2.GetDemoRequest(), user, quick=quick)

    async def find_demo(self, *, user: str) -> demo_pb2.Demo | None:
        """Return the user's demo mode; None while the demo service is unavailable."""
        try:
            return (await self.get_demo(user=user, quick=True)).demo
        except errors.Unavailable as error:
            logger.warning("demo mode is not known", extra={"cause": error.code})
            return None

    async def preview_demo(self, profile_type: str, niche: str, *, user: str) -> demo_service_pb2.PreviewDemoResponse:
        """Return an example of what demo mode would show."""
        request = demo_service_pb2.PreviewDemoRequest(profile_type=profile_type, niche=niche)
        return await self.call(self._stub.PreviewDemo, request, user)

    async def get_dashboard(self, *, user: str, quick: bool = False) -> demo_service_pb2.GetDashboardResponse:
        """Return the metrics of the dashboard."""
        return await self.call(self._stub.GetDashboard, demo_service_pb2.GetDashboardRequest(), user, quick=quick)

    async def list_content(
        self, request: demo_service_pb2.ListContentRequest, *, user: str, quick: bool = False
    ) -> demo_service_pb2.ListContentResponse:
        """Return a page of content items."""
        return await self.call(self._stub.ListContent, request, user, quick=quick)

    async def list_interactions(
        self, request: demo_service_pb2.ListInteractionsRequest, *, user: str, quick: bool = False
    ) -> demo_service_pb2.ListInteractionsResponse:
        """Return a page of interactions."""
        return await self.call(self._stub.ListInteractions, request, user, quick=quick)
