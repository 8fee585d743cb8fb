"""Signing in ends the session that the browser has had so far: nobody keeps a token of before."""

from __future__ import annotations

import logging

from starlette.requests import Request

from chassis import errors
from gateway import parts

logger = logging.getLogger(__name__)


async def end_previous(request: Request, assembled: parts.Parts) -> None:
    """End the session whose cookie came with the request that has just signed somebody in; mostly there is none."""
    if not (token := assembled.cookie.read(request)):
        return
    try:
        previous = await assembled.sessions.validate(token)
        await assembled.auth.revoke_session(previous.session_id, reason="logout", user=previous.identity)
    except errors.Unauthenticated:
        return
    except (errors.Unavailable, errors.DeadlineExceeded) as error:
        # Whoever signed in is in; the other session is in their list, and ends by itself.
        logger.warning("the session before could not be ended", extra={"cause": error.code})
        return
    assembled.sessions.revoked(previous.user_id, {previous.session_id})
