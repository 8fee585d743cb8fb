"""Demo mode and what it shows."""

from __future__ import annotations

import logging

from chassis import errors
from gateway.clients import service
from repruv.demo.v1 import demo_pb2, demo_service_pb2_grpc
from repruv.demo.v1 import demo_service_pb2 as pb

logger = logging.getLogger(__name__)


class Demo(service.Client):
    descriptor = pb.DESCRIPTOR.services_by_name["DemoService"]

    def __init__(self, peer: service.Peer) -> None:
        super().__init__(peer)
        stub = demo_service_pb2_grpc.DemoServiceStub(peer.channel)
        self.enable_demo = self.rpc(stub.EnableDemo, pb.EnableDemoRequest)
        self.disable_demo = self.rpc(stub.DisableDemo, pb.DisableDemoRequest)
        self.dismiss_demo = self.rpc(stub.DismissDemo, pb.DismissDemoRequest)
        self.get_demo = self.rpc(stub.GetDemo, pb.GetDemoRequest)
        self.preview_demo = self.rpc(stub.PreviewDemo, pb.PreviewDemoRequest)
        self.get_dashboard = self.rpc(stub.GetDashboard, pb.GetDashboardRequest)
        self.list_content = self.rpc(stub.ListContent, pb.ListContentRequest)
        self.list_interactions = self.rpc(stub.ListInteractions, pb.ListInteractionsRequest)

    async def find_demo(self, *, identity: str) -> demo_pb2.Demo | None:
        """Return the user's demo mode; None while the demo service is unavailable."""
        try:
            return (await self.get_demo.quick(identity)).demo
        except errors.Unavailable as error:
            logger.warning("demo mode is not known", extra={"cause": error.code})
            return None
