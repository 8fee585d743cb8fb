"""Registration, sign-in and sign-out."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from chassis import errors
from gateway import clients, views
from gateway.api import dependencies, responses, schemas_auth
from gateway.api.dependencies import Gateway, ReadSession
from gateway.api.responses import OPTIONAL_SESSION, PUBLIC, answer, documented, route
from gateway.identity.client_info import client_info
from gateway.middleware import headers
from repruv.auth.v1 import auth_service_pb2

router = APIRouter(prefix="/auth", tags=["auth"])

EMAIL_SENT = "We sent an email to this address. Open the link in it to continue."
SIGNED_IN = "The account; the session's cookie is set."
"""The response to a sign-in."""
_CHALLENGED: responses.OpenApiResponses = {
    202: {"model": schemas_auth.Challenge, "description": "A code is needed too: send it to `/auth/login/code`."},
}


@router.post(
    "/register",
    status_code=201,
    summary="Make an account",
    openapi_extra=PUBLIC,
    responses={
        **documented(201, schemas_auth.Registered, SIGNED_IN, 400, 403, 409, 429),
        202: {"model": schemas_auth.Message, "description": "An email was sent; the same whether there is an account."},
    },
)
async def register(body: schemas_auth.Registration, request: Request, gateway: Gateway) -> Response:
    """Create an account and sign in with a cookie. If addresses must be verified first, send an email instead."""
    registered = await gateway.auth.register(
        email=body.email,
        password=body.password,
        name=body.name,
        remember=body.remember,
        client=gateway.device_cookie.client(request),
    )
    if not registered.token:
        return answer({"message": EMAIL_SENT}, 202)
    response = answer({"user": views.user(registered.user)}, 201)
    await gateway.begin_session(request, response, registered)
    return response


@router.post(
    "/guest",
    status_code=201,
    summary="Try Repruv without an account",
    openapi_extra=PUBLIC,
    responses=documented(201, schemas_auth.Registered, "The guest; the session's cookie is set.", 403, 429),
)
async def begin_guest_session(request: Request, gateway: Gateway) -> Response:
    """Create a guest, who is deleted with all data after some hours, and sign in with a cookie."""
    admitted = await gateway.auth.begin_guest_session(client=gateway.device_cookie.client(request))
    response = answer({"user": views.user(admitted.user)}, 201)
    await gateway.begin_session(request, response, admitted)
    return response


@router.post(
    "/login",
    summary="Sign in",
    openapi_extra=PUBLIC,
    responses={**documented(200, schemas_auth.SignedIn, SIGNED_IN, 400, 403, 429), **_CHALLENGED},
)
async def login(body: schemas_auth.Login, request: Request, gateway: Gateway) -> Response:
    """Start a session and set its cookie. The session of an earlier cookie ends.

    A wrong password and an unknown address get the same response. With a second factor the response is 202 with a challenge,
    unless the request contains the code.
    """
    client = gateway.device_cookie.client(request)
    signed_in = await gateway.auth.login(
        email=body.email, password=body.password, remember=body.remember, client=client
    )
    if not signed_in.challenge:
        return await signed_in_by(request, gateway, signed_in)
    if body.code:
        finished = await gateway.auth.finish_login(challenge=signed_in.challenge, code=body.code, client=client)
        return await signed_in_by(request, gateway, finished)
    challenge = {
        "status": "second_factor_required",
        "challenge": signed_in.challenge,
        "expires_at": views.optional_time(signed_in, "challenge_expire_time"),
    }
    return answer(challenge, 202)


@router.post(
    "/login/code", **route("Sign in: the second step", schemas_auth.SignedIn, SIGNED_IN, 400, 403, 429, extra=PUBLIC)
)
async def login_code(body: schemas_auth.ChallengeAnswer, request: Request, gateway: Gateway) -> Response:
    """Answer the challenge with a code; sets the cookie. 401 `invalid_code`, or `challenge_invalid`: sign in again."""
    response = await gateway.auth.finish_login(
        challenge=body.challenge,
        code=body.code,
        client=gateway.device_cookie.client(request),
    )
    return await signed_in_by(request, gateway, response)


@router.post(
    "/token",
    **route("Get a bearer token", schemas_auth.Token, "The token; no cookie is set.", 400, 403, 429, extra=PUBLIC),
)
async def token(body: schemas_auth.TokenLogin, request: Request, gateway: Gateway) -> Response:
    """Start a session for a client that sends `Authorization: Bearer`. 401 `second_factor_required`: send the code too."""
    client = client_info(request)
    signed_in: clients.SignInResponse = await gateway.auth.login(
        email=body.email, password=body.password, remember=True, client=client
    )
    if isinstance(signed_in, auth_service_pb2.LoginResponse) and signed_in.challenge:
        if not body.code:
            raise errors.Unauthenticated(
                "Enter the code of your second factor as well.", code="second_factor_required", field="code"
            )
        signed_in = await gateway.auth.finish_login(challenge=signed_in.challenge, code=body.code, client=client)
    return answer({"token": signed_in.token, "expires_at": views.time(signed_in.session.absolute_expire_time)})


@router.post("/logout", **route("Sign out", None, "Signed out.", 403, status=204, extra=OPTIONAL_SESSION))
async def logout(request: Request, gateway: Gateway) -> Response:
    """End the session and delete the cookie. A request without a valid session succeeds too."""
    response = Response(status_code=204, headers=headers.SIGNED_OUT)
    gateway.cookie.clear(response)
    try:
        session = await dependencies.signed_in(request, gateway)
        await gateway.auth.revoke_session(session.identity, session_id=session.session_id, reason="logout")
    except errors.Unauthenticated:
        return response
    gateway.sessions.forget_revoked(session.user_id, {session.session_id})
    return response


@router.get("/me", **route("Who is signed in", views.Me, "The signed-in user."))
async def me(session: ReadSession, gateway: Gateway) -> Response:
    """Return the signed-in user and the page to open first: demo mode while there is no data."""
    return answer(views.me(session.user, await gateway.demo.find_demo(identity=session.identity)))


async def signed_in_by(request: Request, gateway: Gateway, signed_in: clients.SignInResponse) -> Response:
    """Return the response to a sign-in, and end the browser's previous session."""
    session_view = views.session(signed_in.session, current_id=signed_in.session.session_id)
    response = answer({"user": views.user(signed_in.user), "session": session_view})
    await gateway.begin_session(request, response, signed_in)
    return response
