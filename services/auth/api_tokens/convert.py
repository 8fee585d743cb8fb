"""Conversions between API tokens and protobuf messages."""

from __future__ import annotations

from collections.abc import Iterable

from chassis import errors, protobuf
from repruv.auth.v1 import api_token_pb2
from services.auth.api_tokens.domain import ApiToken, Scope

_SCOPES = {
    Scope.READ: api_token_pb2.API_TOKEN_SCOPE_READ,
    Scope.WRITE: api_token_pb2.API_TOKEN_SCOPE_WRITE,
}
_FROM_PROTO: dict[int, Scope] = {proto: scope for scope, proto in _SCOPES.items()}


def token_to_proto(api_token: ApiToken) -> api_token_pb2.ApiToken:
    """Convert an API token."""
    return api_token_pb2.ApiToken(
        token_id=str(api_token.token_id),
        user_id=str(api_token.user_id),
        name=api_token.name,
        scopes=[_SCOPES[scope] for scope in api_token.scopes],
        create_time=protobuf.to_timestamp(api_token.created_at),
        expire_time=protobuf.to_timestamp(api_token.expires_at),
        last_use_time=protobuf.to_timestamp(api_token.last_used_at),
    )


def scopes_from_proto(scopes: Iterable[int]) -> set[Scope]:
    """Convert scopes. Raises `InvalidArgument`."""
    try:
        return {_FROM_PROTO[scope] for scope in scopes}
    except KeyError:
        raise errors.InvalidArgument("A scope must be read or write.", field="scopes") from None
