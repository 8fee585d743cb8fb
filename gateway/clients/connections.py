"""Connections to platforms."""

from __future__ import annotations

from gateway.clients import service
from repruv.auth.v1 import connections_service_pb2 as pb
from repruv.auth.v1 import connections_service_pb2_grpc


class Connections(service.Client):
    """Platform connections, which the auth service owns."""

    descriptor = pb.DESCRIPTOR.services_by_name["ConnectionsService"]

    def __init__(self, peer: service.Peer) -> None:
        super().__init__(peer)
        stub = connections_service_pb2_grpc.ConnectionsServiceStub(peer.channel)
        self.list_connections = self.rpc(stub.ListConnections, pb.ListConnectionsRequest)
        self.get_connection = self.rpc(stub.GetConnection, pb.GetConnectionRequest)
        self.begin_connect = self.rpc(stub.BeginConnect, pb.BeginConnectRequest)
        self.finish_connect = self.rpc(stub.FinishConnect, pb.FinishConnectRequest)
        self.disconnect = self.rpc(stub.Disconnect, pb.DisconnectRequest)
