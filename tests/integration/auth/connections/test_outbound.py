"""Calls to platforms: only to configured hosts, and no secrets in errors."""

from __future__ import annotations

import traceback
from typing import Any

import pytest

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
