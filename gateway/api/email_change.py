"""Changes of the email address."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from gateway import views
from gateway.api import schemas_auth
from gateway.api.dependencies import Gateway, SignedIn
from gateway.api.responses import answer, by_emailed_link, route
from gateway.identity.client_info import client_info

router = APIRouter(prefix="/auth/email/change", tags=["security"])


@router.post(
    "",
    **route("Change the address", views.EmailChange, "Emails were sent to both addresses.", 400, 403, 429, status=202),
)
async def request_email_change(
    body: schemas_auth.Email, request: Request, session: SignedIn, gateway: Gateway
) -> Response:
    """Send a link to the new address and a notice to the present one. 403 `reauthentication_required`."""
    requested = await gateway.auth.request_email_change(session.identity, email=body.email, client=client_info(request))
    return answer(views.email_change(requested.email_change), 202)


@router.delete("", **route("Cancel the change of the address", None, "No change is pending.", 403, status=204))
async def cancel_email_change(session: SignedIn, gateway: Gateway) -> Response:
    """Cancel the pending change."""
    await gateway.auth.cancel_email_change(session.identity)
    return Response(status_code=204)


@router.post("/confirm", **by_emailed_link("Confirm the new address by an emailed link", "The address has changed."))
async def confirm_email_change(body: schemas_auth.MailToken, request: Request, gateway: Gateway) -> Response:
    """Accept the link that the new address received, with or without a session."""
    await gateway.auth.confirm_email_change(token=body.token, client=client_info(request))
    gateway.sessions.forget_all()
    return Response(status_code=204)


@router.post(
    "/revoke",
    **by_emailed_link(
        "Undo a change of the address by an emailed link",
        "The previous address is the account's, and all sessions have ended.",
    ),
)
async def revoke_email_change(body: schemas_auth.MailToken, request: Request, gateway: Gateway) -> Response:
    """Accept the link that the previous address received, with or without a session."""
    await gateway.auth.revoke_email_change(token=body.token, client=client_info(request))
    gateway.sessions.forget_all()
    return Response(status_code=204)
