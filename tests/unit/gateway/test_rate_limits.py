"""Rate limits."""

from __future__ import annotations

import pytest
from starlette.types import Message, Receive, Scope, Send

from gateway import problems
from gateway.identity import authentication
from gateway.identity.sessions import Session
from gateway.middleware import rate_limits
from repruv.auth.v1 import auth_pb2
from tests.unit.gateway.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_bucket_empties_and_fills(clock: Clock) -> None:
    bucket = rate_limits.Bucket("user", "3/60", clock=clock)
    assert [bucket.take("a").remaining for _ in range(3)] == [2, 1, 0]
    refused = bucket.take("a")
    assert (refused.remaining, refused.retry_after, refused.full_after) == (0, 20, 60)
    # What was refused costs nothing.
    assert bucket.take("a").retry_after == 20
    assert bucket.take("b").retry_after == 0
    clock.now += 19.9
    assert bucket.take("a").retry_after == 1
    clock.now += 0.1
    assert bucket.take("a") == rate_limits.State(remaining=0, full_after=60, retry_after=0)
    clock.now += 10_000
    assert bucket.take("a").remaining == 2


@pytest.mark.parametrize("setting", ["7/60", "6000/60", "1/1", "600/7"])
def test_burst_of_exactly_the_quota_passes(setting: str, clock: Clock) -> None:
    bucket = rate_limits.Bucket("user", setting, clock=clock)
    passed = [bucket.take("a").retry_after == 0 for _ in range(bucket.quota + 1)]
    assert passed == [True] * bucket.quota + [False]


def test_memory_is_bounded_and_drops_the_least_recently_used(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limits, "MAX_BUCKETS", 2)
    bucket = rate_limits.Bucket("network", "5/60", clock=clock)
    for key in ("a", "b", "a", "c"):
        bucket.take(key)
    assert bucket.take("a").remaining == 2
    assert bucket.take("b").remaining == 4


async def test_password_of_a_site_identifies_no_user() -> None:
    """Behind a proxy that asks for a password, all browsers send the same `Authorization: Basic`."""
    users: list[str] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        user_id = next(value.decode() for name, value in scope["headers"] if name == b"cookie")
        session = Session(
            token=user_id,
            user=auth_pb2.User(user_id=user_id),
            auth_session=auth_pb2.Session(),
            identity="",
            identity_expires=0,
        )
        scope["state"] = {"authenticated": authentication.Authentication(session=session, by_cookie=True)}
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message: Message) -> None:
        users.append(dict(message["headers"])[b"ratelimit"].decode())

    limits = rate_limits.RateLimits(user="5/60", network="50/60", sign_in="5/60")
    limited = rate_limits.RateLimit(application, limits=limits, responder=problems.ErrorResponder())
    for user_id in ("ada", "ada", "ben", "ben"):
        headers = [(b"authorization", b"Basic c2l0ZTpvcGVu"), (b"cookie", user_id.encode())]
        await limited({"type": "http", "method": "GET", "path": "/", "headers": headers}, _receive, send)
    assert [text.partition(";t")[0] for text in users] == [
        '"network";r=49',
        '"user";r=4',
        '"network";r=48',
        '"user";r=4',
    ]


async def _receive() -> Message:
    return {"type": "http.request"}
