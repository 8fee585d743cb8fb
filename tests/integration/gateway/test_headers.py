"""Headers of every response, whatever its route."""

from __future__ import annotations

import re

import httpx

from tests.integration.gateway.conftest import Account

EXPECTED = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
PAGES = (
    "/login",
    "/register",
    "/forgot-password",
    "/reset-password?token=t",
    "/verify-email?token=t",
    "/confirm-email?token=t",
    "/revoke-email?token=t",
    "/keep-account?token=t",
    "/reauthenticate",
    "/dashboard",
    "/settings/demo-mode",
    "/settings/connections",
    "/settings/exports",
    "/settings/delete-account",
    "/settings/security",
    "/settings/sessions",
    "/docs",
    "/nowhere",
)


def check(answer: httpx.Response) -> None:
    where = str(answer.request.url)
    for name, value in EXPECTED.items():
        assert answer.headers[name] == value, where
    policy = answer.headers["content-security-policy"]
    assert "unsafe" not in policy, where
    for part in (
        "default-src 'self'",
        "object-src 'none'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "form-action 'self'",
    ):
        assert part in policy, where
    assert "camera=()" in answer.headers["permissions-policy"], where
    assert answer.headers["referrer-policy"] in {"same-origin", "no-referrer"}, where
    assert "server" not in answer.headers, where


async def test_every_route_of_the_api(account: Account, url: str) -> None:
    async with httpx.AsyncClient(base_url=url, timeout=60.0) as stranger:
        paths = (await stranger.get("/openapi.json")).json()["paths"]
        for path, methods in paths.items():
            for method in methods:
                for http in (stranger, account.http) if "{" in path and "events" not in path else (stranger,):
                    answer = await http.request(method.upper(), re.sub(r"{\w+}", "nonsense", path), json={})
                    check(answer)
                    assert "no-store" in answer.headers["cache-control"], path
                    assert answer.status_code < 500, (path, answer.text)


async def test_every_page(account: Account) -> None:
    for path in PAGES:
        answer = await account.http.get(path, headers={"Accept": "text/html"}, follow_redirects=True)
        check(answer)
        assert answer.headers["cache-control"] == "no-store"
        # Nothing that the policy would stop.
        for stopped in (" style=", " onclick=", "<style", "<script>", "javascript:"):
            assert stopped not in answer.text, (path, stopped)


async def test_pages_with_a_secret_url_send_no_referrer(url: str) -> None:
    async with httpx.AsyncClient(base_url=url) as http:
        for path in ("/reset-password", "/verify-email", "/confirm-email", "/revoke-email", "/keep-account"):
            assert (await http.get(path, params={"token": "t"})).headers["referrer-policy"] == "no-referrer"
        callback = "/api/v1/connections/youtube/callback"
        assert (await http.get(callback, params={"code": "c", "state": "s"})).headers[
            "referrer-policy"
        ] == "no-referrer"
        assert (await http.get("/login")).headers["referrer-policy"] == "same-origin"


async def test_signing_out_clears_site_data(account: Account) -> None:
    left = await account.http.post("/api/v1/auth/logout")
    assert left.headers["clear-site-data"] == '"cache", "storage"'
    assert left.headers["set-cookie"].startswith('session=""')
