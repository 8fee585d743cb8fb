"""The cache of validated sessions."""

from __future__ import annotations

import asyncio

import pytest

from chassis import bus, errors
from gateway.identity import sessions
from repruv.auth.v1 import auth_events_pb2, auth_pb2, auth_service_pb2
from tests.unit.gateway.clock import Clock

TOKEN = "a" * 40


class Auth:
    """A validator of one session, whose answer a test can delay."""

    def __init__(self) -> None:
        self.calls = 0
        self.is_revoked = False
        self.expires = 1_000.0
        self.thinks = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def validate_session(self, token: str, *, passive: bool = False) -> auth_service_pb2.ValidateSessionResponse:
        self.calls += 1
        was_revoked = self.is_revoked
        self.thinks.set()
        await self.may_answer.wait()
        if was_revoked:
            raise errors.Unauthenticated(code="session_invalid")
        answer = auth_service_pb2.ValidateSessionResponse(
            user=auth_pb2.User(user_id="user"), session=auth_pb2.Session(session_id="session"), identity="signed"
        )
        answer.identity_expire_time.FromSeconds(int(self.expires))
        answer.session.absolute_expire_time.FromSeconds(100_000)
        return answer


@pytest.fixture
async def auth() -> Auth:
    return Auth()


@pytest.fixture
def clock() -> Clock:
    clock = Clock()
    clock.now = 0.0
    return clock


@pytest.fixture
def validator(auth: Auth, clock: Clock) -> sessions.Sessions:
    return sessions.Sessions(auth, is_live=lambda: True, clock=clock)


async def test_session_is_cached_for_a_minute(validator: sessions.Sessions, auth: Auth, clock: Clock) -> None:
    for clock.now in (0.0, 59.9, 60.0, 119.9):
        assert (await validator.validate(TOKEN)).identity == "signed"
    assert auth.calls == 2


async def test_open_page_sees_the_end_of_a_session_within_seconds(
    validator: sessions.Sessions, auth: Auth, clock: Clock
) -> None:
    await validator.validate(TOKEN)
    auth.is_revoked = True
    clock.now = 4.9
    await validator.validate(TOKEN, passive=True)
    clock.now = 5.0
    for passive in (True, False):
        with pytest.raises(errors.Unauthenticated):
            await validator.validate(TOKEN, passive=passive)


async def test_open_page_does_not_keep_a_session_in_use_from_its_renewal(
    validator: sessions.Sessions, auth: Auth, clock: Clock
) -> None:
    await validator.validate(TOKEN)
    clock.now = 50.0
    await validator.validate(TOKEN, passive=True)
    clock.now = 59.0
    await validator.validate(TOKEN)
    assert auth.calls == 2
    clock.now = 60.0
    await validator.validate(TOKEN)
    assert auth.calls == 3


async def test_session_is_not_cached_beyond_its_identity(
    validator: sessions.Sessions, auth: Auth, clock: Clock
) -> None:
    auth.expires = 2.0
    for clock.now in (0.0, 1.9, 2.0):
        await validator.validate(TOKEN)
    assert auth.calls == 2


@pytest.mark.parametrize("ids", [{"session"}, None])
async def test_a_revocation_is_effective_at_once(
    validator: sessions.Sessions, auth: Auth, ids: set[str] | None
) -> None:
    revocations: list[object] = []
    validator.on_revoked(lambda user_id, session_ids: revocations.append((user_id, session_ids)))
    await validator.validate(TOKEN)
    auth.is_revoked = True
    validator.forget_revoked("user", {"another"})
    validator.forget_revoked("another", None)
    await validator.validate(TOKEN)
    validator.forget_revoked("user", ids)
    with pytest.raises(errors.Unauthenticated):
        await validator.validate(TOKEN)
    assert revocations == [("user", {"another"}), ("another", None), ("user", ids)]


@pytest.mark.parametrize("happens", ["revoked", "reconnected"])
async def test_validation_in_flight_does_not_cache_a_revoked_session(
    validator: sessions.Sessions, auth: Auth, happens: str
) -> None:
    auth.may_answer.clear()
    validating = asyncio.create_task(validator.validate(TOKEN))
    await auth.thinks.wait()
    auth.is_revoked = True
    if happens == "revoked":
        validator.forget_revoked("user", {"session"})
    else:
        validator.forget_all()
    auth.may_answer.set()
    with pytest.raises(errors.Unauthenticated):
        await validating
    with pytest.raises(errors.Unauthenticated):
        await validator.validate(TOKEN)


async def test_nothing_is_cached_without_nats(auth: Auth, clock: Clock) -> None:
    is_live = True
    validator = sessions.Sessions(auth, is_live=lambda: is_live, clock=clock)
    await validator.validate(TOKEN)
    is_live = False
    auth.is_revoked = True
    with pytest.raises(errors.Unauthenticated):
        await validator.validate(TOKEN)


async def test_cache_is_bounded(validator: sessions.Sessions, auth: Auth, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "CACHE_LIMIT", 2)
    for token in ("a" * 40, "b" * 40, "c" * 40, "c" * 40, "b" * 40, "a" * 40):
        await validator.validate(token)
    assert auth.calls == 4


@pytest.mark.parametrize("token", ["", "short", "a" * 300, "a" * 30 + " ", "a" * 30 + "é", "a" * 30 + "\n"])
async def test_malformed_token_is_not_validated(validator: sessions.Sessions, auth: Auth, token: str) -> None:
    with pytest.raises(errors.Unauthenticated) as excinfo:
        await validator.validate(token)
    assert excinfo.value.code == "session_invalid"
    assert auth.calls == 0


def test_secrets_are_not_printed() -> None:
    session = sessions.Session(
        token="secret-token",
        user=auth_pb2.User(),
        auth_session=auth_pb2.Session(),
        identity="secret-identity",
        identity_expires=0.0,
    )
    assert "secret" not in repr(session)


async def test_refreshed_session_is_validated_again_and_its_streams_are_rechecked(
    validator: sessions.Sessions, auth: Auth
) -> None:
    ended: list[str] = []
    lives_on: list[str] = []
    validator.on_revoked(lambda user_id, _: ended.append(user_id))
    validator.on_refreshed(lambda user_id, _: lives_on.append(user_id))
    await validator.validate(TOKEN)
    for reason in ("refreshed", "revoked"):
        event = auth_events_pb2.SessionsRevoked(user_id="user", session_ids=["session"], reason=reason)
        await validator._on_event(
            bus.Received(subject="auth.events.user", payload=event.SerializeToString(), message_id="")
        )
        await validator.validate(TOKEN)
    assert (auth.calls, lives_on, ended) == (3, ["user"], ["user"])
