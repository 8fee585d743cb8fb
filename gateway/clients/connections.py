"""Connections to platforms."""

from __future__ import annotations

from collections.abc import Sequence

from chassis.rpc import client
from gateway.clients import service
from repruv.auth.v1 import connection_pb2, connections_service_pb2, connections_service_pb2_grpc


class Connections(service.Client):
    """The auth service, as far as it connects users with platforms."""

    def __init__(self, target: str, caller: client.Caller) -> None:
        idempotent = ("ListConnections", "GetConnection", "Disconnect")
        super().__init__("auth", target, caller, idempotent, service="Connections")
        self._stub = connections_service_pb2_grpc.ConnectionsServiceStub(self._channel)

    async def list_connections(self, *, user: str, quick: bool = False) -> Sequence[connection_pb2.Connection]:
        """Return one connection for each platform."""
        request = connections_service_pb2.ListConnectionsRequest()
        return (await self.call(self._stub.ListConnections, request, user, quick=quick)).connections

    async def get_connection(self, platform: str, *, user: str) -> connection_pb2.Connection:
        """Return one connection."""
        request = connections_service_pb2.GetConnectionRequest(platform=platform)
        return (await self.call(self._stub.GetConnection, request, user)).connection

    async def begin_connect(
        self, platform: str, *, return_to: str, user: str
    ) -> connections_service_pb2.BeginConnectResponse:
        """Move to connecting; gives where the browser must go."""
        request = connections_service_pb2.BeginConnectRequest(platform=platform, return_to=return_to)
        return await self.call(self._stub.BeginConnect, request, user)

    async def finish_connect(
        self, request: connections_service_pb2.FinishConnectRequest, *, user: str
    ) -> connections_service_pb2.FinishConnectResponse:
        """Take what the platform sent the browser back with."""
        return await self.call(self._stub.FinishConnect, request, user)

    async def disconnect(self, platform: str, *, user: str) -> connection_pb2.Connection:
        """Move to disconnecting."""
        request = connections_service_pb2.DisconnectRequest(platform=platform)
        return (await self.call(self._stub.Disconnect, request, user)).connection
