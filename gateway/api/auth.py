"""Accounts and sessions."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from chassis import errors, ids
from gateway import sessions, views
from gateway.api import dependencies, schemas
from gateway.api.dependencies import Gateway, SignedIn, answer, documented
from repruv.auth.v1 import auth_pb2
from repruv.demo.v1 import demo_pb2

logger = logging.getLogger(__name__)

router = APIRouter(prefix="/auth", tags=["auth"])

MAX_USER_AGENT = 400
_PUBLIC: dict[str, Any] = {"security": []}


@router.post(
    "/register",
    status_code=201,
    summary="Make an account",
    openapi_extra=_PUBLIC,
    responses=documented(201, schemas.Registered, "The account; the session's cookie is set.", 400, 403, 409, 429),
)
async def register(body: schemas.Registration, request: Request, gateway: Gateway) -> Response:
    """Make an account and sign in: the cookie is set."""
    made = await gateway.auth.register(
        email=body.email, password=body.password, name=body.name, client=client_of(request)
    )
    response = answer({"user": views.user(made.user)}, 201)
    gateway.cookie.put(response, made.token, made.session)
    return response


@router.post(
    "/login",
    summary="Sign in",
    openapi_extra=_PUBLIC,
    responses=documented(200, schemas.SignedIn, "The account; the session's cookie is set.", 400, 403, 429),
)
async def login(body: schemas.Credentials, request: Request, gateway: Gateway) -> Response:
    """Begin a session: the cookie is set. A wrong password and an unknown address get the same answer."""
    made = await gateway.auth.login(email=body.email, password=body.password, client=client_of(request))
    shown = views.session(made.session, current_id=made.session.session_id)
    response = answer({"user": views.user(made.user), "session": shown})
    gateway.cookie.put(response, made.token, made.session)
    return response


@router.post(
    "/token",
    summary="Get a bearer token",
    openapi_extra=_PUBLIC,
    responses=documented(200, schemas.Token, "The token; no cookie is set.", 400, 429),
)
async def token(body: schemas.Credentials, request: Request, gateway: Gateway) -> Response:
    """Begin a session for a client that sends `Authorization: Bearer`."""
    made = await gateway.auth.login(email=body.email, password=body.password, client=client_of(request))
    return answer({"token": made.token, "expires_at": views.time(made.session.absolute_expire_time)})


@router.post("/logout", status_code=204, summary="Sign out", responses=documented(204, None, "Signed out.", 403))
async def logout(request: Request, gateway: Gateway) -> Response:
    """End the session and delete the cookie. Without a living session there is nothing to do, which is no error."""
    response = Response(status_code=204)
    gateway.cookie.clear(response)
    try:
        session = await dependencies.signed_in(request, gateway)
        await gateway.auth.revoke_session(session.session_id, reason="logout", user=session.identity)
    except errors.Unauthenticated:
        return response
    gateway.sessions.revoked(session.user_id, {session.session_id})
    return response


@router.get("/me", summary="Who is signed in", responses=documented(200, schemas.Me, "The signed-in user."))
async def me(session: SignedIn, gateway: Gateway) -> Response:
    """Answer who is signed in, and where to go first: to demo mode as long as there is nothing to see elsewhere."""
    return answer(views.me(session.user, await known_demo(session, gateway)))


@router.get("/sessions", summary="List sessions", responses=documented(200, schemas.Sessions, "Living sessions."))
async def list_sessions(session: SignedIn, gateway: Gateway) -> Response:
    """Give the user's living sessions, most recently used first."""
    found = await gateway.auth.list_sessions(user=session.identity)
    return answer({"sessions": [views.session(login, current_id=session.session_id) for login in found]})


@router.delete(
    "/sessions/{session_id}",
    status_code=204,
    summary="End a session",
    responses=documented(204, None, "It has ended, or had already.", 403, 404),
)
async def revoke_session(session_id: str, session: SignedIn, gateway: Gateway) -> Response:
    """End one session of the user, here and on every open stream."""
    try:
        wanted = str(ids.parse(session_id, "session_id"))
    except errors.InvalidArgument as error:
        raise errors.NotFound("There is no such session.", code="session_not_found") from error
    await gateway.auth.revoke_session(wanted, user=session.identity)
    gateway.sessions.revoked(session.user_id, {wanted})
    response = Response(status_code=204)
    if wanted == session.session_id:
        gateway.cookie.clear(response)
    return response


@router.post(
    "/sessions/revoke-all",
    status_code=204,
    summary="End all sessions",
    responses=documented(204, None, "They have ended.", 400, 403),
)
async def revoke_all_sessions(session: SignedIn, gateway: Gateway, body: schemas.RevokeAll | None = None) -> Response:
    """End the user's sessions everywhere, this one included unless told otherwise."""
    kept = session.session_id if body and body.keep_current else ""
    await gateway.auth.revoke_all_sessions(except_session_id=kept, user=session.identity)
    gateway.sessions.revoked(session.user_id, None)
    response = Response(status_code=204)
    if not kept:
        gateway.cookie.clear(response)
    return response


def client_of(request: Request) -> auth_pb2.Client:
    """Say who calls, as far as that is known."""
    agent = request.headers.get("user-agent", "")[:MAX_USER_AGENT]
    return auth_pb2.Client(user_agent=agent, ip_address=request.client.host if request.client else "")


async def known_demo(session: sessions.Session, gateway: Gateway) -> demo_pb2.Demo | None:
    """Give the user's demo mode; None when nobody knows how it stands."""
    try:
        return (await gateway.demo.get_demo(user=session.identity, quick=True)).demo
    except errors.Unavailable as error:
        logger.warning("demo mode is not known", extra={"cause": error.code})
        return None
