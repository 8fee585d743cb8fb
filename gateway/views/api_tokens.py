"""API tokens of users."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

from chassis import protobuf
from gateway.views import derive
from repruv.auth.v1 import api_token_pb2

ApiTokenScope = Literal["read", "write"]
SCOPES: dict[ApiTokenScope, api_token_pb2.ApiTokenScope.ValueType] = protobuf.enum_numbers(
    api_token_pb2.ApiTokenScope.DESCRIPTOR
)
_SCOPES: dict[int, ApiTokenScope] = {proto: scope for scope, proto in SCOPES.items()}


class ApiToken(TypedDict):
    """An API token, without the token itself."""

    token_id: str
    name: str
    scopes: list[ApiTokenScope]
    created_at: str | None
    expires_at: Annotated[str | None, Field(description="In the past if it has expired.")]
    last_used_at: Annotated[
        str | None, derive.Of("last_use_time"), Field(description="Accurate to five minutes; null: never used.")
    ]


api_token = derive.view(
    ApiToken, api_token_pb2.ApiToken, scopes=lambda listed: [_SCOPES[scope] for scope in listed.scopes]
)
"""Returns an API token as its owner sees it."""
