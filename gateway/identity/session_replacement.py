"""Session replacement: a sign-in ends the browser's previous session, a proof of identity rotates the session's token."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response

from chassis import errors
from gateway.identity.cookies import SessionCookie
from gateway.identity.sessions import Sessions
from repruv.auth.v1 import auth_pb2

logger = logging.getLogger(__name__)


class Revoker(Protocol):
    """The part of the auth service that ends sessions."""

    @property
    def revoke_session(self) -> Callable[..., Awaitable[object]]:
        """End one session of the user."""


async def end_previous(request: Request, *, auth: Revoker, sessions: Sessions, cookie: SessionCookie) -> None:
    """End the session whose cookie a sign-in request carries. Most sign-ins carry none."""
    if not (token := cookie.read(request)):
        return
    try:
        previous = await sessions.validate(token)
        await auth.revoke_session(previous.identity, session_id=previous.session_id, reason="logout")
    except errors.Unauthenticated:
        return
    except (errors.Unavailable, errors.DeadlineExceeded) as error:
        # The sign-in still succeeds. The previous session stays in the user's list and expires.
        logger.warning("previous session was not revoked", extra={"cause": error.code})
        return
    sessions.forget_revoked(previous.user_id, {previous.session_id})


def rotate_token(
    sessions: Sessions,
    cookie: SessionCookie,
    response: Response,
    token: str,
    auth_session: auth_pb2.Session,
    *,
    by_cookie: bool,
) -> None:
    """Forget the session's old token in this replica and set the cookie if the request came by cookie.

    Other replicas forget the old token on the revocation event.
    """
    sessions.forget_refreshed(auth_session.user_id, {auth_session.session_id})
    if by_cookie:
        cookie.keep(response, token, auth_session)
