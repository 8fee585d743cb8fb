"""The user's sessions."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from gateway import views
from gateway.api import schemas_auth
from gateway.api.dependencies import Gateway, SessionId, SignedIn
from gateway.api.responses import answer, route
from gateway.middleware import headers

router = APIRouter(prefix="/auth/sessions", tags=["sessions"])


@router.get("", **route("List sessions", schemas_auth.Sessions, "Active sessions."))
async def list_sessions(session: SignedIn, gateway: Gateway) -> Response:
    """Return the user's active sessions, most recently used first."""
    sessions = (await gateway.auth.list_sessions(session.identity)).sessions
    return answer(
        {"sessions": [views.session(auth_session, current_id=session.session_id) for auth_session in sessions]}
    )


@router.post("/revoke-all", **route("End all sessions", None, "They have ended.", 400, 403, status=204))
async def revoke_all_sessions(
    session: SignedIn, gateway: Gateway, body: schemas_auth.RevokeAll | None = None
) -> Response:
    """End the user's sessions everywhere, this one included by default. 403 `reauthentication_required`."""
    kept_session_id = session.session_id if body and body.keep_current else ""
    await gateway.auth.revoke_all_sessions(session.identity, except_session_id=kept_session_id)
    gateway.sessions.forget_revoked(session.user_id, None)
    return _answer_ended(gateway, is_current=not kept_session_id)


@router.delete("/{session_id}", **route("End a session", None, "It has ended, or had already.", 403, 404, status=204))
async def revoke_session(session_id: SessionId, session: SignedIn, gateway: Gateway) -> Response:
    """End one session of the user, here and on every open stream.

    Ending another session requires reauthentication: 403 `reauthentication_required`.
    """
    is_current = session_id == session.session_id
    await gateway.auth.revoke_session(session.identity, session_id=session_id, reason="logout" if is_current else "")
    gateway.sessions.forget_revoked(session.user_id, {session_id})
    return _answer_ended(gateway, is_current=is_current)


def _answer_ended(gateway: Gateway, *, is_current: bool) -> Response:
    response = Response(status_code=204, headers=headers.SIGNED_OUT if is_current else None)
    if is_current:
        gateway.cookie.clear(response)
    return response
