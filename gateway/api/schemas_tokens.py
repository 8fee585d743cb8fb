"""Bodies and responses of API tokens."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from gateway.api.schemas import Body, Text
from gateway.views import API_TOKEN_SCOPES, ApiToken, ApiTokenScope


class NewApiToken(Body):
    """A new API token."""

    name: Text = Field(description="1 to 100 characters.", examples=["Nightly report"])
    scopes: list[ApiTokenScope] = Field(
        max_length=len(API_TOKEN_SCOPES),
        description="What it may do; at least one. `write` includes `read`.",
        examples=[["read"]],
    )
    lifetime_days: int = Field(90, ge=1, le=365, description="Days until it expires.")


class CreatedApiToken(TypedDict):
    """A created API token, and the token itself."""

    api_token: ApiToken
    token: Annotated[str, Field(description="It is returned only here.", examples=["rpa_…"])]


class ApiTokens(TypedDict):
    """The API tokens of a user, newest first."""

    api_tokens: list[ApiToken]
