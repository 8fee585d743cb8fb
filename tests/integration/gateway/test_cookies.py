"""Session cookies: attributes, accepted names, new tokens."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import httpx
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.settings import Settings
from tests.integration.gateway.conftest import PASSWORD, Account, age_sessions, gateway_serving


def parsed(answer: httpx.Response, name: str = "session") -> tuple[str, set[str]]:
    """Return the pair and the attributes of a cookie that the response sets."""
    headers = answer.headers.get_list("set-cookie")
    pair, *attributes = next(header for header in headers if header.partition("=")[0].endswith(name)).split("; ")
    return pair, {attribute.lower() for attribute in attributes}


async def login(http: httpx.AsyncClient, account: Account, **more: object) -> httpx.Response:
    return await http.post("/api/v1/auth/login", json={"email": account.email, "password": PASSWORD, **more})


async def test_session_without_remember_me_has_a_session_cookie(account: Account, url: str) -> None:
    async with httpx.AsyncClient(base_url=url) as http:
        _, plain = parsed(await login(http, account))
        _, remembered = parsed(await login(http, account, remember=True))
    assert not any(attribute.startswith(("max-age", "expires")) for attribute in plain)
    assert any(attribute.startswith("max-age=") for attribute in remembered)
    assert {"httponly", "samesite=lax", "path=/"} <= plain & remembered


async def test_only_the_host_prefixed_cookie_is_read_behind_tls(
    account: Account, gateway_settings: Callable[..., Settings]
) -> None:
    config = gateway_settings(public_url="https://repruv.example", trusted_proxies="none")
    async with gateway_serving(config) as served, httpx.AsyncClient(base_url=served) as http:
        response = await login(http, account)
        pair, attributes = parsed(response)
        assert pair.startswith("__Host-session=")
        assert {"secure", "httponly", "samesite=lax", "path=/"} <= attributes
        assert response.headers["strict-transport-security"] == "max-age=31536000; includeSubDomains"
        assert "upgrade-insecure-requests" in response.headers["content-security-policy"]
        token = pair.partition("=")[2]
        http.cookies.clear()
        for cookie, status in (
            (f"__Host-session={token}", 200),
            (f"session={token}", 401),
            (f"__host-session={token}", 401),
            (f"__Host-session={token}; __Host-session=other", 401),
        ):
            answer = await http.get("/api/v1/auth/me", headers={"Cookie": cookie})
            assert answer.status_code == status, cookie


@pytest.mark.parametrize("value", [b"", b"x" * 8_000, b"\xff\xfe\xfd" * 10, b'"quoted"', b"a b" * 10, b"%00" * 10])
async def test_invalid_token_is_unauthenticated(url: str, value: bytes) -> None:
    async with httpx.AsyncClient(base_url=url) as http:
        answer = await http.get("/api/v1/auth/me", headers={b"Cookie": b"session=" + value})
        assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json")
        query = await http.get("/api/v1/auth/me", params={"session": "x" * 43, "token": "x" * 43})
        assert query.status_code == 401


async def test_slow_request_leaves_the_cookie_of_a_new_token(
    account: Account,
    database: Callable[[str], AsyncEngine],
    gateway_settings: Callable[..., Settings],
    eventually: Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]],
) -> None:
    async def is_renewed() -> bool:
        query = sa.text(
            "SELECT bool_and(last_seen_at > now() - interval '1 min') FROM auth.sessions WHERE user_id = :user"
        )
        async with database("auth").connect() as conn:
            return bool(await conn.scalar(query, {"user": account.user_id}))

    path = "/api/v1/events/poll"
    cursor = (await account.http.get(path)).json()["next"]
    await age_sessions(database("auth"), account.user_id, timedelta(minutes=6))
    # Another gateway has nothing in memory: a request beside the poll renews the session.
    async with (
        gateway_serving(gateway_settings()) as url,
        httpx.AsyncClient(base_url=url, cookies=account.http.cookies) as http,
    ):
        poll = asyncio.create_task(http.get(path, params={"after": cursor, "wait": 20}, timeout=40))
        await http.get("/api/v1/auth/me")
        await eventually(is_renewed)
        proved = await http.post("/api/v1/auth/reauthenticate", json={"password": PASSWORD})
        await poll
        assert parsed(proved)[0] == f"session={http.cookies['session']}"
        assert (await http.get("/api/v1/auth/me")).status_code == 200


async def test_device_cookie_lasts_and_is_read_by_scripts_nowhere(account: Account, url: str) -> None:
    async with httpx.AsyncClient(base_url=url) as http:
        pair, attributes = parsed(await login(http, account), "device")
        again, _ = parsed(await login(http, account), "device")
        assert {"httponly", "samesite=lax", "path=/", "max-age=34560000"} <= attributes
        assert pair == again
        http.cookies.set("device", "planted, with a space", path="/")
        response = await http.post("/api/v1/auth/login", json={"email": account.email, "password": "wrong-password"})
        assert "device=" not in "".join(response.headers.get_list("set-cookie"))
        assert (
            await http.post("/api/v1/auth/token", json={"email": account.email, "password": PASSWORD})
        ).cookies == {}
