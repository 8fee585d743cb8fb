"""API tokens."""

from __future__ import annotations

from gateway.clients import service
from repruv.auth.v1 import api_token_service_pb2 as pb
from repruv.auth.v1 import api_token_service_pb2_grpc


class ApiTokens(service.Client):
    """API tokens, which the auth service owns."""

    descriptor = pb.DESCRIPTOR.services_by_name["ApiTokenService"]

    def __init__(self, peer: service.Peer) -> None:
        super().__init__(peer)
        stub = api_token_service_pb2_grpc.ApiTokenServiceStub(peer.channel)
        self.create = self.rpc(stub.CreateApiToken, pb.CreateApiTokenRequest)
        self.list_tokens = self.rpc(stub.ListApiTokens, pb.ListApiTokensRequest)
        self.revoke = self.rpc(stub.RevokeApiToken, pb.RevokeApiTokenRequest)
