"""Cookies, bearer tokens, and cross-site requests."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import httpx
import pytest
from starlette.responses import Response

from gateway import metrics
from gateway.identity import cookies, sessions
from gateway.settings import Settings
from repruv.auth.v1 import auth_pb2
from tests.integration.gateway.conftest import PASSWORD, Account, gateway_serving

Register = Callable[..., Awaitable[Account]]


async def bearer(account: Account) -> dict[str, str]:
    answer = await account.http.post("/api/v1/auth/token", json={"email": account.email, "password": PASSWORD})
    return {"Authorization": f"Bearer {answer.json()['token']}"}


async def test_cookie_is_http_only(account: Account, url: str) -> None:
    credentials = {"email": account.email, "password": PASSWORD}
    header = (await account.http.post("/api/v1/auth/login", json=credentials)).headers["set-cookie"]
    name, *attributes = header.lower().split("; ")
    assert name.startswith("session=")
    assert {"httponly", "samesite=lax", "path=/"} <= set(attributes)
    assert "secure" not in attributes


def test_over_tls_the_cookie_is_bound_to_the_host() -> None:
    response = Response()
    cookies.SessionCookie(secure=True).keep(response, "token", auth_pb2.Session())
    attributes = response.headers["set-cookie"].lower().split("; ")
    assert attributes[0] == "__host-session=token"
    assert {"secure", "httponly", "samesite=lax", "path=/"} <= set(attributes)
    assert not any(attribute.startswith("domain") for attribute in attributes)


async def test_logout_ends_the_session_everywhere(account: Account, gateway_settings: Callable[[], Settings]) -> None:
    cookies = dict(account.http.cookies)
    async with (
        gateway_serving(gateway_settings()) as other,
        httpx.AsyncClient(base_url=other, cookies=cookies) as there,
    ):
        assert (await there.get("/api/v1/auth/me")).status_code == 200
        assert (await account.http.post("/api/v1/auth/logout")).status_code == 204
        assert "session" not in account.http.cookies
        async with asyncio.timeout(sessions.TTL_SECONDS / 2):
            while (await there.get("/api/v1/auth/me")).status_code != 401:
                await asyncio.sleep(0.01)
    account.http.cookies.update(cookies)
    assert (await account.http.get("/api/v1/auth/me")).status_code == 401
    assert (await account.http.post("/api/v1/auth/logout")).status_code == 204


@pytest.mark.parametrize("path", ["register", "login"])
async def test_request_after_a_sign_in_does_not_call_auth(
    register: Register, path: str, eventually: Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]
) -> None:
    async def calls_auth_once() -> bool:
        account = await register()
        if path == "login":
            credentials = {"email": account.email, "password": PASSWORD}
            assert (await account.http.post("/api/v1/auth/login", json=credentials)).status_code == 200
        calls: float = metrics.SESSION_CACHE_MISSES._value.get()
        assert (await account.http.get("/api/v1/auth/me")).status_code == 200
        return bool(metrics.SESSION_CACHE_MISSES._value.get() == calls)

    # Repeated: what other tests left may ask auth meanwhile.
    await eventually(calls_auth_once)


async def test_sessions_are_listed_and_ended_one_by_one(account: Account) -> None:
    headers = await bearer(account)
    listed = (await account.http.get("/api/v1/auth/sessions")).json()["sessions"]
    assert [login["current"] for login in listed].count(True) == 1
    assert "token" not in str(listed)
    other = next(login["session_id"] for login in listed if not login["current"])
    async with httpx.AsyncClient(base_url=account.http.base_url, headers=headers) as device:
        assert (await device.get("/api/v1/auth/me")).status_code == 200
        assert (await account.http.delete(f"/api/v1/auth/sessions/{other}")).status_code == 204
        assert (await device.get("/api/v1/auth/me")).status_code == 401
    for nonsense in ("nonsense", "01990000-0000-7000-8000-000000000000"):
        response = await account.http.delete(f"/api/v1/auth/sessions/{nonsense}")
        assert (response.status_code, response.json()["code"]) == (404, "session_not_found")


async def test_all_other_sessions_end(account: Account) -> None:
    headers = await bearer(account)
    revoked = await account.http.post("/api/v1/auth/sessions/revoke-all", json={"keep_current": True})
    assert revoked.status_code == 204
    async with httpx.AsyncClient(base_url=account.http.base_url, headers=headers) as device:
        assert (await device.get("/api/v1/auth/me")).status_code == 401
    assert (await account.http.get("/api/v1/auth/me")).status_code == 200
    assert (await account.http.post("/api/v1/auth/sessions/revoke-all")).status_code == 204
    assert (await account.http.get("/api/v1/auth/me")).status_code == 401


async def test_bearer_token_precedes_the_cookie(account: Account, register: Register) -> None:
    other = await register()
    headers = await bearer(other)
    assert (await account.http.get("/api/v1/auth/me", headers=headers)).json()["email"] == other.email
    for useless in ("Bearer", "bearer nonsense-nonsense-nonsense"):
        response = await account.http.get("/api/v1/auth/me", headers={"Authorization": useless})
        assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "nonsense"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "OWN"}, 403),
        ({"Origin": "OWN"}, 200),
        ({"Origin": "null"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "OWN.evil.example"}, 403),
    ],
)
async def test_only_same_origin_requests_change_things_by_cookie(
    account: Account, headers: dict[str, str], status: int
) -> None:
    certificate = str(account.http.base_url).rstrip("/")
    fields = {name: value.replace("OWN", certificate) for name, value in headers.items()}
    answer = await account.http.post("/api/v1/demo/dismiss", headers=fields)
    assert answer.status_code == status
    if status == 403:
        assert answer.json()["code"] == "cross_site_request"
        login = await account.http.post("/api/v1/auth/login", headers=fields, json={})
        assert (login.status_code, login.json()["code"]) == (403, "cross_site_request")
    assert (await account.http.get("/api/v1/auth/me", headers=fields)).status_code == 200
    by_bearer = await account.http.post("/api/v1/demo/dismiss", headers={**fields, **await bearer(account)})
    assert by_bearer.status_code == 200
