"""The demo service: users connect only while demo mode is disabled, since it simulates connections."""

from __future__ import annotations

import grpc

from chassis import errors
from chassis.rpc import client
from repruv.demo.v1 import demo_pb2, demo_service_pb2, demo_service_pb2_grpc

SERVICE = demo_service_pb2.DESCRIPTOR.services_by_name["DemoService"].full_name
TIMEOUT = 1.0


class DemoMode:
    """Reads the demo mode of the user of the present call."""

    def __init__(self, channel: grpc.aio.Channel, call: client.Caller) -> None:
        self._stub = demo_service_pb2_grpc.DemoServiceStub(channel)
        self._call = call

    async def require_disabled(self) -> None:
        """Raise `demo_mode_active` unless demo mode is disabled; `Unavailable` if the demo service does not answer."""
        request = demo_service_pb2.GetDemoRequest()
        answer = await self._call(self._stub.GetDemo, request, timeout=TIMEOUT, wait_for_ready=False)
        if answer.demo.state != demo_pb2.DEMO_STATE_DISABLED:
            message = "Connections are simulated in demo mode. Disable it to connect an account of yours."
            raise errors.FailedPrecondition(message, code="demo_mode_active")
