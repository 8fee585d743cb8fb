"""Token rotation: the old token leaves the cache before its event, and only cookie clients get a cookie."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
from starlette.responses import Response

from gateway.container import Container
from gateway.identity import sessions
from gateway.identity.cookies import SessionCookie
from repruv.auth.v1 import auth_pb2, auth_service_pb2

OLD, NEW = "a" * 43, "b" * 43
LOGIN = auth_pb2.Session(session_id="session", user_id="user")


class Auth:
    """Counts validations."""

    calls = 0

    async def validate_session(self, token: str, *, passive: bool = False) -> auth_service_pb2.ValidateSessionResponse:
        self.calls += 1
        answer = auth_service_pb2.ValidateSessionResponse(user=auth_pb2.User(user_id="user"), session=LOGIN)
        answer.identity_expire_time.FromSeconds(int(time.time()) + 100)
        return answer


@pytest.mark.parametrize("by_cookie", [True, False])
async def test_old_token_is_removed_from_the_cache_at_once(by_cookie: bool) -> None:
    auth, response = Auth(), Response()
    cache = sessions.Sessions(auth, is_live=lambda: True)
    await cache.validate(OLD)
    container = SimpleNamespace(sessions=cache, cookie=SessionCookie(secure=False))
    rotated = auth_service_pb2.ReauthenticateResponse(session=LOGIN, token=NEW)
    Container.rotate_token(container, response, rotated, by_cookie=by_cookie)  # type: ignore[arg-type]
    await cache.validate(OLD)
    assert auth.calls == 2
    assert response.headers.get("set-cookie", "").startswith(f"session={NEW}") == by_cookie
