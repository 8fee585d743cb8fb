"""Deletion of the user's account."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from gateway import views
from gateway.api import schemas_admin, schemas_auth
from gateway.api.dependencies import Gateway, SignedIn
from gateway.api.responses import answer, by_emailed_link, route
from gateway.identity.client_info import client_info

router = APIRouter(prefix="/auth/deletion", tags=["security"])


@router.post(
    "",
    **route("Delete the account", schemas_admin.OneUser, "It will be deleted at `deletion_at`.", 400, 403, 409, 429),
)
async def request_deletion(body: schemas_auth.Email, request: Request, session: SignedIn, gateway: Gateway) -> Response:
    """Begin the grace period; `email` repeats the address of the account. 403 `reauthentication_required`.

    All other sessions end. After the grace period everything of the user is erased.
    """
    response = await gateway.auth.request_deletion(session.identity, email=body.email, client=client_info(request))
    gateway.sessions.forget_refreshed(session.user_id, {session.session_id})
    return answer({"user": views.user(response.user)})


@router.delete("", **route("Keep the account", schemas_admin.OneUser, "It stays.", 403))
async def cancel_deletion(session: SignedIn, gateway: Gateway) -> Response:
    """Cancel the deletion within the grace period."""
    response = await gateway.auth.cancel_deletion(session.identity)
    gateway.sessions.forget_refreshed(session.user_id, {session.session_id})
    return answer({"user": views.user(response.user)})


@router.post("/cancel", **by_emailed_link("Keep the account by an emailed link", "The account stays."))
async def cancel_deletion_by_link(body: schemas_auth.MailToken, request: Request, gateway: Gateway) -> Response:
    """Accept the link of the email about the deletion, with or without a session."""
    await gateway.auth.cancel_deletion_by_link(token=body.token, client=client_info(request))
    gateway.sessions.forget_all()
    return Response(status_code=204)
