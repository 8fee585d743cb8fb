"""gRPC in: request, operation, response. Every call acts for the user of the call, on that user's connections only."""

from __future__ import annotations

from typing import Any

from chassis import identity, ids, protobuf
from chassis.rpc.admission import Context
from repruv.auth.v1 import connections_service_pb2 as pb
from repruv.auth.v1 import connections_service_pb2_grpc as pb_grpc
from services.auth.connections import convert, domain, operations

_SERVICE = pb.DESCRIPTOR.services_by_name["ConnectionsService"]
SERVICE = _SERVICE.full_name
CALLERS = dict.fromkeys(_SERVICE.methods_by_name, frozenset({"gateway"}))
"""The services that may call each rpc."""
SCOPES = {"ListConnections": "read", "GetConnection": "read"}
"""The scope with which an API token may make each rpc."""


class ConnectionsServicer(pb_grpc.ConnectionsServiceServicer):
    """Serves `repruv.auth.v1.ConnectionsService`; the protos document each rpc."""

    def __init__(self, connections: operations.Operations) -> None:
        self._connections = connections

    async def ListConnections(self, request: pb.ListConnectionsRequest, context: Context) -> pb.ListConnectionsResponse:
        connections = await self._connections.list(_user().user_id)
        return pb.ListConnectionsResponse(connections=map(self._to_proto, connections))

    async def GetConnection(self, request: pb.GetConnectionRequest, context: Context) -> pb.GetConnectionResponse:
        connection = await self._connections.get(_user().user_id, request.platform)
        return pb.GetConnectionResponse(connection=self._to_proto(connection))

    async def BeginConnect(self, request: pb.BeginConnectRequest, context: Context) -> pb.BeginConnectResponse:
        # Before demo mode, which a guest would have to disable for nothing.
        identity.caller().require_user().require_account()
        authorization = await self._connections.begin(_user(), request.platform, return_to=request.return_to)
        return pb.BeginConnectResponse(
            connection=self._to_proto(authorization.connection),
            authorization_url=authorization.authorization_url,
            expire_time=protobuf.to_timestamp(authorization.expires_at),
        )

    async def FinishConnect(self, request: pb.FinishConnectRequest, context: Context) -> pb.FinishConnectResponse:
        callback = operations.Callback(
            state=request.state, code=request.code, error=request.error, issuer=request.issuer
        )
        connection, return_to = await self._connections.finish(_user(), request.platform, callback)
        return pb.FinishConnectResponse(connection=self._to_proto(connection), return_to=return_to)

    async def Disconnect(self, request: pb.DisconnectRequest, context: Context) -> pb.DisconnectResponse:
        return pb.DisconnectResponse(
            connection=self._to_proto(await self._connections.disconnect(_user(), request.platform))
        )

    def _to_proto(self, connection: domain.Connection) -> Any:
        title = self._connections.title(connection.platform)
        return convert.connection_to_proto(connection, title=title)


def _user() -> operations.User:
    user = identity.caller().require_user()
    return operations.User(
        user_id=ids.parse(user.user_id, "user_id"), session_id=ids.parse(user.session_id, "session_id")
    )
