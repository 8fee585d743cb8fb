"""The security of an account: password, address, second factor and reauthentication."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from gateway import clients, views
from gateway.api import schemas_auth
from gateway.api.auth import EMAIL_SENT
from gateway.api.dependencies import Gateway, SignedIn
from gateway.api.responses import PUBLIC, answer, by_emailed_link, route
from gateway.identity import authentication
from gateway.identity.client_info import client_info

router = APIRouter(prefix="/auth", tags=["security"])

FRESH = "The session continues with a new token. 401 `invalid_credentials` or `invalid_code`."
"""The response to a proof of identity."""


@router.get(
    "/security",
    **route("How the account is protected", views.Security, "The settings, and the latest security events."),
)
async def get_security(session: SignedIn, gateway: Gateway) -> Response:
    """Return the security settings of the account and its latest security events."""
    return answer(views.security(await gateway.auth.get_security(session.identity)))


@router.post("/reauthenticate", **route("Prove who you are", schemas_auth.Refreshed, FRESH, 400, 403, 429))
async def reauthenticate(body: schemas_auth.Proof, request: Request, session: SignedIn, gateway: Gateway) -> Response:
    """Prove the user's identity: sensitive calls are allowed for ten minutes."""
    proved = await gateway.auth.reauthenticate(
        session.identity, password=body.password, code=body.code, client=client_info(request)
    )
    return refreshed(request, gateway, proved)


@router.post(
    "/password",
    **route("Change the password", schemas_auth.PasswordChanged, f"All other sessions ended. {FRESH}", 400, 403, 429),
)
async def change_password(
    body: schemas_auth.NewPassword, request: Request, session: SignedIn, gateway: Gateway
) -> Response:
    """Replace the password; all other sessions end."""
    password_change = await gateway.auth.change_password(
        session.identity,
        current_password=body.current_password,
        new_password=body.new_password,
        client=client_info(request),
    )
    response = refreshed(request, gateway, password_change, revoked_count=password_change.revoked_count)
    gateway.sessions.forget_revoked(session.user_id, None)
    return response


@router.post(
    "/password/forgot",
    **route(
        "Forgot the password",
        schemas_auth.Message,
        "The same whether there is an account.",
        *(400, 403, 429),
        status=202,
        extra=PUBLIC,
    ),
)
async def forgot_password(body: schemas_auth.Email, request: Request, gateway: Gateway) -> Response:
    """Send an email with a link to the address if it has an account."""
    await gateway.auth.request_password_reset(email=body.email, client=client_info(request))
    return answer({"message": "If this address has an account, we sent an email to it."}, 202)


@router.post(
    "/password/reset",
    **by_emailed_link("Set a password by an emailed link", "It is set, and all sessions have ended: sign in."),
)
async def reset_password(body: schemas_auth.PasswordReset, request: Request, gateway: Gateway) -> Response:
    """Set the password with an emailed link. All sessions end; none starts."""
    await gateway.auth.reset_password(token=body.token, password=body.password, client=client_info(request))
    # The event will name the user. Until then no session is read from the cache.
    gateway.sessions.forget_all()
    return Response(status_code=204)


@router.post(
    "/email/verification",
    **route(
        "Send the verification email",
        schemas_auth.Message,
        "Sent, unless the address is verified already.",
        *(403, 429),
        status=202,
    ),
)
async def request_email_verification(session: SignedIn, gateway: Gateway) -> Response:
    """Send an email with a link to the user's address."""
    await gateway.auth.request_email_verification(session.identity)
    return answer({"message": EMAIL_SENT}, 202)


@router.post("/email/verify", **by_emailed_link("Verify an address by an emailed link", "The address is verified."))
async def verify_email(body: schemas_auth.MailToken, request: Request, gateway: Gateway) -> Response:
    """Accept the link of the verification email, with or without a session."""
    await gateway.auth.verify_email(token=body.token, client=client_info(request))
    gateway.sessions.forget_all()
    return Response(status_code=204)


@router.post(
    "/totp",
    **route(
        "Begin with an authenticator app",
        schemas_auth.TotpSecret,
        "What the app needs; confirm it with a code.",
        *(403, 409),
    ),
)
async def begin_totp(session: SignedIn, gateway: Gateway) -> Response:
    """Create the secret of an authenticator app. 403 `reauthentication_required`."""
    enrolment = await gateway.auth.begin_totp(session.identity)
    return answer(
        {"secret": enrolment.secret, "uri": enrolment.uri, "expires_at": views.optional_time(enrolment, "expire_time")}
    )


@router.post(
    "/totp/confirm",
    **route(
        "Turn the second factor on",
        schemas_auth.SecondFactorEnabled,
        f"Keep the recovery codes. {FRESH}",
        *(400, 403, 409, 429),
    ),
)
async def confirm_totp(body: schemas_auth.Code, request: Request, session: SignedIn, gateway: Gateway) -> Response:
    """Confirm that the app has the secret: from now on a sign-in requires a code. 403 `reauthentication_required`."""
    confirmed = await gateway.auth.confirm_totp(session.identity, code=body.code)
    return refreshed(request, gateway, confirmed, recovery_codes=list(confirmed.recovery_codes))


@router.post("/totp/disable", **route("Turn the second factor off", schemas_auth.Refreshed, FRESH, 400, 403, 409, 429))
async def disable_totp(body: schemas_auth.Code, request: Request, session: SignedIn, gateway: Gateway) -> Response:
    """Turn the second factor off. 403 `reauthentication_required`."""
    return refreshed(request, gateway, await gateway.auth.disable_totp(session.identity, code=body.code))


@router.post(
    "/recovery-codes",
    **route(
        "Replace the recovery codes",
        schemas_auth.RecoveryCodes,
        "The new ones; the old ones are invalid.",
        403,
        409,
        429,
    ),
)
async def regenerate_recovery_codes(session: SignedIn, gateway: Gateway) -> Response:
    """Replace all recovery codes. 403 `reauthentication_required`."""
    return answer(
        {"recovery_codes": list((await gateway.auth.regenerate_recovery_codes(session.identity)).recovery_codes)}
    )


def refreshed(request: Request, gateway: Gateway, rotated: clients.RotatedToken, **more: object) -> Response:
    """Return the session with its new token, which is sent like the old one: in the cookie or the body."""
    by_cookie = authentication.is_by_cookie(request)
    body = {"session": views.session(rotated.session, current_id=rotated.session.session_id), **more}
    if not by_cookie:
        body |= {"token": rotated.token, "expires_at": views.optional_time(rotated.session, "absolute_expire_time")}
    response = answer(body)
    gateway.rotate_token(response, rotated, by_cookie=by_cookie)
    return response
