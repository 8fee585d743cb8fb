"""A session goes on under a new token: what was known of the old one is forgotten, and the cookie set at once."""

from __future__ import annotations

from starlette.responses import Response

from gateway import sessions
from gateway.cookies import Cookie
from repruv.auth.v1 import auth_pb2


def rotate(
    known: sessions.Sessions,
    cookie: Cookie,
    response: Response,
    token: str,
    login: auth_pb2.Session,
    *,
    by_cookie: bool,
) -> None:
    """Forget the old token in this replica (the others hear of it), and give whoever came by cookie the new one."""
    known.refreshed(login.user_id, {login.session_id})
    if by_cookie:
        cookie.put(response, token, login)
