"""ApiTokenService over gRPC: converts requests, calls operations, converts results."""

from __future__ import annotations

from chassis import ids, protobuf
from chassis.rpc.admission import Context as RpcContext
from repruv.auth.v1 import api_token_service_pb2 as pb
from repruv.auth.v1 import api_token_service_pb2_grpc
from services.auth import convert
from services.auth.api_tokens import convert as token_convert
from services.auth.api_tokens.operations import ApiTokens
from services.auth.context import Context
from services.auth.servicer import actor

_SERVICE = pb.DESCRIPTOR.services_by_name["ApiTokenService"]
SERVICE = _SERVICE.full_name
CALLERS = dict.fromkeys(_SERVICE.methods_by_name, frozenset({"gateway"}))
"""The services that may call each rpc."""


class ApiTokenServicer(api_token_service_pb2_grpc.ApiTokenServiceServicer):
    """The rpcs. The server maps the errors that they raise."""

    def __init__(self, context: Context) -> None:
        self._api_tokens = ApiTokens(context)

    async def CreateApiToken(self, request: pb.CreateApiTokenRequest, context: RpcContext) -> pb.CreateApiTokenResponse:
        api_token, token = await self._api_tokens.create(
            actor(),
            name=request.name,
            scopes=set(map(token_convert.SCOPES.from_proto, request.scopes)),
            lifetime_days=request.lifetime_days,
            client=convert.client_from_proto(request.client),
        )
        return pb.CreateApiTokenResponse(api_token=token_convert.token_to_proto(api_token), token=token)

    async def ListApiTokens(self, request: pb.ListApiTokensRequest, context: RpcContext) -> pb.ListApiTokensResponse:
        api_tokens, fresh_until = await self._api_tokens.list_tokens(actor())
        return pb.ListApiTokensResponse(
            api_tokens=map(token_convert.token_to_proto, api_tokens),
            fresh_until_time=protobuf.to_timestamp(fresh_until),
        )

    async def RevokeApiToken(self, request: pb.RevokeApiTokenRequest, context: RpcContext) -> pb.RevokeApiTokenResponse:
        await self._api_tokens.revoke(actor(), ids.parse(request.token_id, "token_id"))
        return pb.RevokeApiTokenResponse()
