"""Whether demo mode stands in the way: while it is not disabled, connections are simulated."""

from __future__ import annotations

import grpc

from chassis import errors
from chassis.rpc import client
from repruv.demo.v1 import demo_pb2, demo_service_pb2, demo_service_pb2_grpc

SERVICE = demo_service_pb2.DESCRIPTOR.services_by_name["DemoService"].full_name
TIMEOUT = 1.0


class DemoMode:
    """The demo service, asked for the user of the call that is being served."""

    def __init__(self, channel: grpc.aio.Channel, call: client.Caller) -> None:
        self._stub = demo_service_pb2_grpc.DemoServiceStub(channel)
        self._call = call

    async def require_disabled(self) -> None:
        """Raise `demo_mode_active` while demo mode is anything but disabled; `Unavailable` when that cannot be known."""
        request = demo_service_pb2.GetDemoRequest()
        answer = await self._call(self._stub.GetDemo, request, timeout=TIMEOUT, wait_for_ready=False)
        if answer.demo.state != demo_pb2.DEMO_STATE_DISABLED:
            message = "Connections are simulated in demo mode. Disable it to connect an account of yours."
            raise errors.FailedPrecondition(message, code="demo_mode_active")
