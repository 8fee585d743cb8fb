"""Rate limits as callers see them."""

from __future__ import annotations

from collections.abc import Callable

import httpx

from gateway.settings import Settings
from tests.integration.gateway.conftest import PASSWORD, Account, gateway_serving
from tests.integration.gateway.html import Page
from tests.integration.gateway.streaming import opened


async def test_exceeded_limit_has_retry_after(account: Account, gateway_settings: Callable[..., Settings]) -> None:
    config = gateway_settings(rate_limit_user="3/600", rate_limit_network="off", rate_limit_sign_in="2/600")
    async with gateway_serving(config) as url, httpx.AsyncClient(base_url=url) as http:
        token = account.http.cookies["session"]
        http.cookies.set("session", token)
        # Whose bucket it is shows with the first answer.
        assert "ratelimit" not in (await http.get("/api/v1/auth/me")).headers
        for left in (2, 1, 0):
            answer = await http.get("/api/v1/auth/me")
            assert answer.status_code == 200
            assert answer.headers["ratelimit-policy"] == '"user";q=3;w=600'
            assert answer.headers["ratelimit"].startswith(f'"user";r={left};t=')
        response = await http.get("/api/v1/auth/me")
        assert (response.status_code, response.headers["content-type"]) == (429, "application/problem+json")
        assert response.json()["code"] == "rate_limited"
        assert response.headers["ratelimit"].startswith('"user";r=0;t=')
        assert 0 < int(response.headers["retry-after"]) <= 200
        assert "x-content-type-options" in response.headers
        page = await http.get("/dashboard", headers={"Accept": "text/html"})
        assert (page.status_code, "Too many requests" in Page(page).text) == (429, True)
        # Files and probes are free.
        for path in ("/static/repruv.js", "/healthz", "/readyz", "/docs/start.js"):
            answer = await http.get(path)
            assert (answer.status_code, "ratelimit" in answer.headers) == (200, False)


async def test_sign_in_has_its_own_bucket(account: Account, gateway_settings: Callable[..., Settings]) -> None:
    config = gateway_settings(rate_limit_sign_in="2/600")
    credentials = {"email": account.email, "password": PASSWORD}
    async with gateway_serving(config) as url, httpx.AsyncClient(base_url=url) as http:
        for _ in range(2):
            response = await http.post("/api/v1/auth/login", json=credentials)
            assert response.status_code == 200
        assert response.headers["ratelimit-policy"] == '"network";q=6000;w=60, "sign-in";q=2;w=600'
        for path in ("/api/v1/auth/login", "/api/auth/token", "/login", "/api/v1/auth/password/forgot"):
            assert (await http.post(path, json=credentials)).status_code == 429
        assert (await http.get("/forgot-password")).status_code == 200
        assert (await http.get("/api/v1/auth/me")).status_code == 200


async def test_open_stream_is_not_limited(account: Account, gateway_settings: Callable[..., Settings]) -> None:
    config = gateway_settings(rate_limit_user="off", rate_limit_network="2/600")
    async with gateway_serving(config) as url, httpx.AsyncClient(base_url=url) as http:
        http.cookies.set("session", account.http.cookies["session"])
        async with opened(http) as stream:
            async with httpx.AsyncClient(base_url=url) as stranger:
                while (await stranger.get("/login")).status_code != 429:
                    pass
            assert (await http.get("/api/v1/auth/me")).status_code == 200
            await account.http.post("/api/v1/demo/enable", json={"content_count": 1, "interaction_count": 1})
            await stream.until(lambda event: event.name == "demo" and event.data["status"] == "enabled")
