"""The user's API tokens. A program sends one as `Authorization: Bearer`; it cannot use these routes itself."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from gateway import views
from gateway.api import schemas_tokens
from gateway.api.dependencies import Gateway, SignedIn, TokenId
from gateway.api.responses import answer, route
from gateway.identity.client_info import client_info

router = APIRouter(prefix="/auth/api-tokens", tags=["security"])


@router.get("", **route("List API tokens", schemas_tokens.ApiTokens, "API tokens.", 403))
async def list_tokens(session: SignedIn, gateway: Gateway) -> Response:
    """Return the user's active API tokens, and those that expired within the last seven days, newest first."""
    response = await gateway.api_tokens.list_tokens(session.identity)
    return answer({"api_tokens": [views.api_token(api_token) for api_token in response.api_tokens]})


@router.post(
    "",
    **route("Create an API token", schemas_tokens.CreatedApiToken, "The new API token.", 400, 403, 409, status=201),
)
async def create_token(
    body: schemas_tokens.NewApiToken, request: Request, session: SignedIn, gateway: Gateway
) -> Response:
    """Create an API token and email the user. 403 `reauthentication_required`, 409 `too_many_api_tokens`.

    A user has at most 20 active API tokens. A new password revokes all of them.
    """
    created = await gateway.api_tokens.create(
        session.identity,
        name=body.name,
        scopes=[views.API_TOKEN_SCOPES[scope] for scope in body.scopes],
        lifetime_days=body.lifetime_days,
        client=client_info(request),
    )
    return answer({"api_token": views.api_token(created.api_token), "token": created.token}, 201)


@router.delete(
    "/{token_id}", **route("Revoke an API token", None, "It is revoked, or had ended already.", 403, 404, status=204)
)
async def revoke_token(token_id: TokenId, session: SignedIn, gateway: Gateway) -> Response:
    """End an API token of the user, here and on every open stream. 403 `reauthentication_required`."""
    await gateway.api_tokens.revoke(session.identity, token_id=token_id)
    gateway.sessions.forget_revoked(session.user_id, {token_id})
    return Response(status_code=204)
