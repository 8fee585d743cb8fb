"""Calls to platforms: only to configured hosts, and no secrets in errors."""

from __future__ import annotations

import asyncio
import traceback
from typing import Any

import pytest

from chassis import circuit_breaker
from services.auth.connections.platforms import Platform
from services.auth.connections.providers.outbound import (
    InvalidResponse,
    Outbound,
    PlatformError,
    PlatformRefused,
    PlatformUnavailable,
)

SECRET = "canary-in-the-query"


@pytest.fixture
def platform(offered: tuple[Platform, ...]) -> Platform:
    return next(candidate for candidate in offered if candidate.name == "tampering")


@pytest.mark.parametrize(
    "url", ["https://evil.example/", "http://localhost/", "http://127.0.0.1:1/", "file:///etc/passwd"]
)
async def test_other_hosts_are_not_called(http: Outbound, platform: Platform, url: str) -> None:
    with pytest.raises(InvalidResponse):
        await http.get(platform, url)


async def test_redirects_are_not_followed(http: Outbound, platform: Platform, tampering: Any) -> None:
    headers = {"Location": f"{tampering.url}/elsewhere"}
    await tampering.misbehave(refuse=[{"path": "/userinfo", "status": 302, "headers": headers, "times": 1}])
    with pytest.raises(PlatformRefused):
        await http.get(platform, f"{tampering.url}/userinfo")
    assert await tampering.requests_to("/elsewhere") == []


@pytest.mark.parametrize(
    "misdeed",
    [
        {"status": 500},
        {"status": 429, "headers": {"Retry-After": "nonsense"}},
        {"status": 429, "headers": {"Retry-After": "Mon, 23 Nov 2099 00:00:00 GMT"}},
        {"status": 400, "body": {"error": "canary-of-theirs", "error_description": "canary-of-theirs"}},
        {"status": 200, "size": 2_000_000},
        {"status": 200, "body": {"error": ["canary-of-theirs"]}},
    ],
    ids=str,
)
async def test_errors_reveal_neither_address_nor_response(
    http: Outbound, platform: Platform, tampering: Any, misdeed: dict[str, Any]
) -> None:
    await tampering.misbehave(refuse=[{"path": "/userinfo", "times": 1, **misdeed}])
    with pytest.raises(PlatformError) as excinfo:
        await http.get(platform, f"{tampering.url}/userinfo", query={"access_token": SECRET})
    report = "".join(traceback.format_exception(excinfo.value))
    assert SECRET not in report
    assert "canary-of-theirs" not in report
    if isinstance(excinfo.value, PlatformUnavailable) and excinfo.value.retry_after:
        assert excinfo.value.retry_after.total_seconds() <= 3600


async def test_unresponsive_platform_times_out(platform: Platform, tampering: Any) -> None:
    hasty = Outbound(timeout=0.3)
    await tampering.misbehave(refuse=[{"path": "/userinfo", "hang": True, "times": 1}])
    with pytest.raises(PlatformUnavailable):
        await hasty.get(platform, f"{tampering.url}/userinfo")
    await hasty.close()


async def test_cookies_of_a_platform_are_neither_kept_nor_sent(
    http: Outbound, platform: Platform, tampering: Any
) -> None:
    headers = {"Set-Cookie": "of=one-user; Path=/"}
    await tampering.misbehave(refuse=[{"path": "/userinfo", "status": 200, "headers": headers, "times": 2}])
    for _ in range(2):
        await http.get(platform, f"{tampering.url}/userinfo")
    assert [request["cookie"] for request in await tampering.requests_to("/userinfo")] == ["", ""]


async def test_few_calls_wait_for_a_frozen_platform_until_it_answers(
    http: Outbound, platform: Platform, tampering: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def call_many() -> list[Any]:
        """Make the calls of as many jobs as a worker runs at once."""
        calls = [http.get(platform, f"{tampering.url}/userinfo") for _ in range(8)]
        return await asyncio.gather(*calls, return_exceptions=True)

    with monkeypatch.context() as patched:
        patched.setattr(http, "_timeout", 0.5)
        for requests in (8, circuit_breaker.MAX_TRIES):
            await tampering.misbehave(refuse=[{"path": "/userinfo", "hang": True, "times": 99}])
            results = await call_many()
            assert all(isinstance(result, PlatformUnavailable) for result in results)
            assert len(await tampering.requests_to("/userinfo")) == requests
    await tampering.misbehave(refuse=[{"path": "/userinfo", "status": 400, "times": 99}])
    assert {type(result) for result in await call_many()} == {PlatformRefused, PlatformUnavailable}
    assert {type(result) for result in await call_many()} == {PlatformRefused}


@pytest.mark.parametrize(
    "address", ["https://127.0.0.1/\x01", "https://127.0.0.1:99999/", "https://127.0.0.1/" + "x" * 70_000]
)
async def test_what_is_no_address_is_not_called(http: Outbound, platform: Platform, address: str) -> None:
    with pytest.raises(InvalidResponse):
        await http.get(platform, address)


async def test_time_of_a_retry_beyond_all_clocks_is_ignored(http: Outbound, platform: Platform, tampering: Any) -> None:
    headers = {"Retry-After": f"Mon, 23 Nov 2026 00:00:00 +{'9' * 20}"}
    await tampering.misbehave(refuse=[{"path": "/userinfo", "status": 429, "headers": headers, "times": 1}])
    with pytest.raises(PlatformUnavailable) as excinfo:
        await http.get(platform, f"{tampering.url}/userinfo")
    assert excinfo.value.retry_after is None
