"""Conversions between API tokens and protobuf messages."""

from __future__ import annotations

from chassis import protobuf
from repruv.auth.v1 import api_token_pb2
from services.auth.api_tokens.domain import ApiToken, Scope

SCOPES = protobuf.Enum(api_token_pb2.ApiTokenScope.DESCRIPTOR, Scope, "scopes")


def token_to_proto(api_token: ApiToken) -> api_token_pb2.ApiToken:
    return api_token_pb2.ApiToken(
        token_id=str(api_token.token_id),
        user_id=str(api_token.user_id),
        name=api_token.name,
        scopes=map(SCOPES.to_proto, api_token.scopes),
        create_time=protobuf.to_timestamp(api_token.created_at),
        expire_time=protobuf.to_timestamp(api_token.expires_at),
        last_use_time=protobuf.to_timestamp(api_token.last_used_at),
    )
