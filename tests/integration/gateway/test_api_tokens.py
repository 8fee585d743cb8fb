"""API tokens over REST and on the pages: what each scope allows, and how a revoked token ends."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway import app
from gateway.api import dependencies
from gateway.settings import Settings
from tests.integration.gateway import html
from tests.integration.gateway.conftest import Account, age_sessions, gateway_serving
from tests.integration.gateway.html import HTML, Page
from tests.integration.gateway.streaming import opened

BASE = "/api/v1"
TOKENS = f"{BASE}/auth/api-tokens"
UNKNOWN = "01990000-0000-7000-8000-000000000000"


async def create(account: Account, *scopes: str, name: str = "Report") -> tuple[str, dict[str, str]]:
    """Create an API token; return its id and the header that carries it."""
    answer = await account.http.post(TOKENS, json={"name": name, "scopes": scopes})
    assert answer.status_code == 201, answer.text
    body = answer.json()
    return body["api_token"]["token_id"], {"Authorization": f"Bearer {body['token']}"}


def client(account: Account, headers: dict[str, str]) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=account.http.base_url, headers=headers, timeout=60.0)


def routes() -> list[tuple[str, str, str]]:
    """Return method, path and scope of each route of the API that needs a session."""
    private = [(path, route) for path, route in app.api_routes() if not _is_public(route)]
    return [(method, path, dependencies.scope_of(route)) for path, route in private for method in route.methods or ()]


def _is_public(route: APIRoute) -> bool:
    return "security" in (route.openapi_extra or {})


def test_reading_routes_take_the_scope_read_and_changing_ones_the_scope_write() -> None:
    open_routes = [(method, scope) for method, _, scope in routes() if scope]
    assert len(open_routes) > 20
    assert all(scope == ("read" if method == "GET" else "write") for method, scope in open_routes)
    closed = {(method, path) for method, path, scope in routes() if not scope}
    assert {each for each in closed if "/auth/" not in each[1] and "/admin/" not in each[1]} == {
        ("POST", f"{BASE}/connections/{{platform}}/connect"),
        ("GET", f"{BASE}/connections/{{platform}}/callback"),
        ("POST", f"{BASE}/connections/{{platform}}/disconnect"),
    }
    assert {each for each in routes() if "/auth/" in each[1] and each[2]} == {
        ("GET", f"{BASE}/auth/me", "read"),
        ("GET", f"{BASE}/auth/notification-settings", "read"),
        ("GET", f"{BASE}/auth/profile", "read"),
    }


async def test_token_passes_where_its_scope_is_documented_and_nowhere_else(account: Account) -> None:
    _, read = await create(account, "read")
    _, write = await create(account, "write")
    async with client(account, read) as reader, client(account, write) as writer:
        for method, path, required in routes():
            if path.endswith(("/events", "/events/poll")):
                continue
            url = re.sub(r"\{\w+\}", UNKNOWN, path)
            for scope, http in (("read", reader), ("write", writer)):
                response = await http.request(method, url, json={} if method in {"POST", "PATCH", "PUT"} else None)
                code = response.json().get("code") if response.status_code == 403 else ""
                may = scope == "write" or required == "read"
                expected = "session_required" if not required else "" if may else "scope_missing"
                assert code == expected, (method, path, scope, response.text)
                if code == "scope_missing":
                    header = f'Bearer error="insufficient_scope", scope="{required}"'
                    assert response.headers["www-authenticate"] == header


async def test_writing_token_starts_and_follows_a_job(account: Account) -> None:
    _, headers = await create(account, "read", "write")
    async with client(account, headers) as http, opened(http) as stream:
        started = await http.post(f"{BASE}/demo/enable", json={"content_count": 1, "interaction_count": 1})
        assert started.status_code == 202, started.text
        await stream.until(lambda event: event.name == "demo" and event.data["status"] == "enabled")
        job = (await http.get(f"{BASE}/jobs/{started.json()['job_id']}")).json()
        assert job["kind"] == "demo.enable"
        assert (await http.get(f"{BASE}/content")).status_code == 200
        polled = await http.get(f"{BASE}/events/poll", params={"after": "0", "wait": 0})
        assert polled.status_code == 200
        assert (await http.get(f"{BASE}/auth/me")).json()["user_id"] == account.user_id


async def test_token_is_never_taken_from_a_cookie_nor_by_a_page(account: Account) -> None:
    _, headers = await create(account, "read", "write")
    token = headers["Authorization"].removeprefix("Bearer ")
    async with client(account, {}) as http:
        http.cookies.set("session", token)
        response = await http.get(f"{BASE}/jobs")
        assert (response.status_code, response.json()["code"]) == (401, "session_invalid")
        assert (await http.get("/dashboard", headers=HTML)).status_code == 303
    async with client(account, headers) as http:
        for path in ("/dashboard", "/settings/tokens", "/jobs"):
            assert (await http.get(path, headers=HTML)).status_code == 403
        # The cookie beside a bearer token does not count.
        http.cookies.update(account.http.cookies)
        assert (await http.get(f"{BASE}/auth/sessions")).json()["code"] == "session_required"
        logout = await http.post(f"{BASE}/auth/logout")
        assert (logout.status_code, logout.json()["code"]) == (403, "session_required")
    assert (await account.http.get(f"{BASE}/auth/me")).status_code == 200


async def test_admin_token_administers_nothing(admin: httpx.AsyncClient) -> None:
    answer = await admin.post(TOKENS, json={"name": "Report", "scopes": ["read", "write"]})
    headers = {"Authorization": f"Bearer {answer.json()['token']}"}
    async with httpx.AsyncClient(base_url=admin.base_url, headers=headers, timeout=60.0) as http:
        for path in ("users", "jobs", "security-events"):
            assert (await http.get(f"{BASE}/admin/{path}")).json()["code"] == "session_required"
        assert (await http.get(f"{BASE}/jobs")).status_code == 200
        # The role of the identity is user: an admin would see this job.
        assert (await http.get(f"{BASE}/jobs/{UNKNOWN}")).status_code == 404


async def test_changing_requests_need_no_origin_with_a_token(account: Account) -> None:
    _, headers = await create(account, "write")
    foreign = {"Origin": "https://elsewhere.example", "Sec-Fetch-Site": "cross-site"}
    async with client(account, {**headers, **foreign}) as http:
        assert (await http.post(f"{BASE}/notifications/read-all")).status_code == 204


async def test_revocation_ends_requests_and_streams_on_every_replica(
    account: Account, gateway_settings: Callable[..., Settings]
) -> None:
    token_id, headers = await create(account, "read")
    async with (
        gateway_serving(gateway_settings()) as other,
        httpx.AsyncClient(base_url=other, headers=headers) as there,
        client(account, headers) as here,
        opened(there) as stream,
    ):
        assert (await stream.next()) is not None
        assert (await here.get(f"{BASE}/jobs")).status_code == 200
        assert (await account.http.delete(f"{TOKENS}/{token_id}")).status_code == 204
        refusal = await here.get(f"{BASE}/jobs")
        assert (refusal.status_code, refusal.json()["code"]) == (401, "api_token_invalid")
        assert (await stream.rest())[-1].data == {"reason": "session_expired"}
        async with asyncio.timeout(60):
            while (await there.get(f"{BASE}/jobs")).status_code != 401:
                await asyncio.sleep(0.01)
    assert (await account.http.delete(f"{TOKENS}/{token_id}")).status_code == 204
    response = await account.http.delete(f"{TOKENS}/{UNKNOWN}")
    assert (response.status_code, response.json()["code"]) == (404, "api_token_not_found")
    assert (await account.http.delete(f"{TOKENS}/nonsense")).json()["code"] == "api_token_not_found"


async def test_each_token_has_its_own_rate(account: Account, gateway_settings: Callable[..., Settings]) -> None:
    config = gateway_settings(rate_limit_user="3/600", rate_limit_network="off")
    _, first = await create(account, "read")
    _, second = await create(account, "read")
    async with gateway_serving(config) as url, httpx.AsyncClient(base_url=url, timeout=60.0) as http:
        for _ in range(4):  # whose bucket it is shows with the first answer
            assert (await http.get(f"{BASE}/jobs", headers=first)).status_code == 200
        assert (await http.get(f"{BASE}/jobs", headers=first)).status_code == 429
        assert (await http.get(f"{BASE}/jobs", headers=second)).status_code == 200
        http.cookies.update(account.http.cookies)
        assert (await http.get(f"{BASE}/jobs")).status_code == 200


async def test_tokens_are_listed_without_their_secret(account: Account) -> None:
    token_id, headers = await create(account, "write", "read", name="Nightly")
    [listed] = (await account.http.get(TOKENS)).json()["api_tokens"]
    assert (listed["token_id"], listed["name"], listed["scopes"]) == (token_id, "Nightly", ["read", "write"])
    assert listed["last_used_at"] is None
    async with client(account, headers) as http:
        await http.get(f"{BASE}/jobs")
    [listed] = (await account.http.get(TOKENS)).json()["api_tokens"]
    assert listed["last_used_at"] is not None
    invalid = await account.http.post(TOKENS, json={"name": "", "scopes": ["read"]})
    assert (invalid.status_code, invalid.json()["errors"][0]["field"]) == (422, "name")
    for body in ({"name": "x", "scopes": ["admin"]}, {"name": "x", "scopes": ["read"], "lifetime_days": 366}):
        assert (await account.http.post(TOKENS, json=body)).status_code == 422


async def test_openapi_names_the_scope_of_each_route(account: Account) -> None:
    document = (await account.http.get("/openapi.json")).json()
    assert document["components"]["securitySchemes"]["api_token"]["bearerFormat"] == "rpa_[0-9A-Za-z]{49}"
    for method, path, scope in routes():
        operation = document["paths"][path][method.lower()]
        named = [each for entry in operation.get("security", []) for each in entry.get("api_token", [])]
        assert named == ([scope] if scope else []), path
        assert not scope or "403" in operation["responses"]


async def form_token(account: Account) -> str:
    page = await account.http.get("/settings/tokens", headers=HTML)
    match = re.search(r'name="form_token" value="([^"]+)"', page.text)
    assert match, page.text
    return match[1]


async def submit(account: Account, action: str, **fields: str) -> httpx.Response:
    page = await html.open_page(account.http, "/settings/tokens")
    return await html.submit(account.http, page, f"/settings/tokens/{action}", **fields)


async def test_page_shows_a_new_token_once(account: Account) -> None:
    response = await submit(account, "create", name="<b>Nightly</b>", scopes="read", lifetime_days="7")
    assert response.status_code == 200
    assert "no-store" in response.headers["cache-control"]
    [token] = set(re.findall(r"rpa_[0-9A-Za-z]{49}", response.text))
    async with client(account, {"Authorization": f"Bearer {token}"}) as http:
        assert (await http.get(f"{BASE}/jobs")).status_code == 200
        assert (await http.post(f"{BASE}/notifications/read-all")).json()["code"] == "scope_missing"
    listed = await account.http.get("/settings/tokens", headers=HTML)
    assert token not in listed.text
    assert "<b>Nightly</b>" in Page(listed).text
    [token_id] = re.findall(r'name="token_id" value="([^"]+)"', listed.text)
    assert (await submit(account, "revoke", token_id=token_id)).status_code == 303
    text = Page(await account.http.get("/settings/tokens", headers=HTML)).text
    assert "API token revoked" in text
    assert "No tokens yet" in text
    security = Page(await account.http.get("/settings/security", headers=HTML)).text
    assert "API token created" in security
    assert "API token revoked" in security


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "", "scopes": "read", "lifetime_days": "7"}, "Enter a name"),
        ({"name": "x", "scopes": "", "lifetime_days": "7"}, "Choose at least one scope"),
        ({"name": "x", "scopes": "write", "lifetime_days": "8"}, "Choose a lifetime"),
    ],
)
async def test_page_explains_mistakes_and_keeps_what_was_typed(
    account: Account, fields: dict[str, str], message: str
) -> None:
    answer = await submit(account, "create", **fields)
    assert (answer.status_code, message in Page(answer).text) == (422, True)
    assert f'value="{fields["name"]}"' in answer.text


async def test_page_asks_for_a_proof_of_identity(account: Account, database: Callable[[str], AsyncEngine]) -> None:
    token_id, _ = await create(account, "read")
    response = await account.http.get("/settings/tokens", headers=HTML)
    assert "/settings/tokens/create" in response.text
    token = await form_token(account)
    await age_sessions(database("auth"), account.user_id, timedelta(minutes=11))
    response = await account.http.get("/settings/tokens", headers=HTML)
    assert "/settings/tokens/create" not in response.text
    assert 'href="/reauthenticate?next=/settings/tokens"' in response.text
    data = {"form_token": token, "token_id": token_id}
    answer = await account.http.post("/settings/tokens/revoke", data=data, headers=HTML)
    assert (answer.status_code, answer.headers["location"].startswith("/reauthenticate")) == (303, True)


async def test_admin_sees_and_revokes_tokens_of_a_user(
    account: Account, admin: httpx.AsyncClient, register: Callable[..., Awaitable[Account]]
) -> None:
    token_id, headers = await create(account, "read", name="Nightly")
    address = f"{BASE}/admin/users/{account.user_id}"
    api_tokens: list[dict[str, Any]] = (await admin.get(address)).json()["api_tokens"]
    assert [each["token_id"] for each in api_tokens] == [token_id]
    page = await admin.get(f"/admin/users/{account.user_id}", headers=HTML)
    assert "Nightly" in Page(page).text
    match = re.search(r'name="form_token" value="([^"]+)"', page.text)
    assert match
    data = {"form_token": match[1], "token_id": token_id}
    answer = await admin.post(f"/admin/users/{account.user_id}/revoke-token", data=data, headers=HTML)
    assert answer.status_code == 303
    async with client(account, headers) as http:
        assert (await http.get(f"{BASE}/jobs")).status_code == 401
    assert (await admin.delete(f"{address}/api-tokens/{token_id}")).status_code == 204
    assert (await admin.delete(f"{address}/api-tokens/{UNKNOWN}")).status_code == 404
    other = await register()
    assert (await other.http.delete(f"{address}/api-tokens/{token_id}")).json()["code"] == "admin_required"
