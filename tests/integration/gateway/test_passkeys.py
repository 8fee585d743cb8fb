"""Passkeys over HTTP: by cookie and by bearer token, and on pages without JavaScript."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial
from typing import Any

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.settings import Settings
from services.auth import __main__ as auth_service
from services.auth.settings import Settings as AuthSettings
from tests.integration.auth.authenticator import Authenticator
from tests.integration.gateway.conftest import Account, age_sessions, gateway_serving, serving
from tests.integration.gateway.html import HTML, Page, submit

SECURITY = "/settings/security"
PUBLIC_URL = "http://localhost:8080"
BASE = "/api/v1/auth"


@pytest.fixture(scope="module")
async def at_a_name(
    auth_settings: Callable[..., AuthSettings], gateway_settings: Callable[..., Settings]
) -> AsyncIterator[str]:
    """Run a gateway whose auth service supports passkeys."""
    config = auth_settings(public_url=PUBLIC_URL)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(serving(partial(auth_service.serve, config)))
        yield await stack.enter_async_context(gateway_serving(gateway_settings(auth_target=config.listen)))


@pytest.fixture
async def mina(at_a_name: str, register: Callable[..., Awaitable[Account]]) -> Account:
    return await register(at_a_name)


async def begin(http: httpx.AsyncClient, path: str, **more: Any) -> dict[str, Any]:
    answer = await http.post(f"{BASE}/{path}/options", **more)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def add(http: httpx.AsyncClient) -> tuple[Authenticator, str]:
    authenticator = Authenticator(rp_id="localhost", origin=PUBLIC_URL)
    ceremony = await begin(http, "passkeys")
    credential = json.loads(authenticator.make(json.dumps(ceremony["options"])))
    credential |= {"clientExtensionResults": {}, "authenticatorAttachment": "platform"}  # as browsers do
    fields = {"ceremony": ceremony["ceremony"], "credential": credential, "name": "Phone"}
    answer = await http.post(f"{BASE}/passkeys", json=fields)
    assert answer.status_code == 201, answer.text
    return authenticator, answer.json()["passkey"]["passkey_id"]


def proof(authenticator: Authenticator, ceremony: dict[str, Any], **more: Any) -> dict[str, Any]:
    signed = json.loads(authenticator.sign(json.dumps(ceremony["options"])))
    return {"ceremony": ceremony["ceremony"], "credential": signed, **more}


async def test_sign_in_sets_the_cookie_and_ends_the_previous_session(mina: Account) -> None:
    authenticator, _ = await add(mina.http)
    before = mina.http.cookies["session"]
    ceremony = await begin(mina.http, "login/passkey")
    answer = await mina.http.post(f"{BASE}/login/passkey", json=proof(authenticator, ceremony, remember=True))
    assert answer.status_code == 200, answer.text
    assert answer.json()["user"]["user_id"] == mina.user_id
    assert "Max-Age" in answer.headers["set-cookie"]
    assert mina.http.cookies["session"] not in (before, *answer.text.split('"'))
    async with httpx.AsyncClient(base_url=mina.http.base_url, cookies={"session": before}) as old:
        assert (await old.get(f"{BASE}/me")).status_code == 401


async def test_proof_returns_the_new_token_as_the_old_one_was_sent(mina: Account) -> None:
    authenticator, _ = await add(mina.http)
    before = mina.http.cookies["session"]
    ceremony = await begin(mina.http, "reauthenticate/passkey")
    answer = await mina.http.post(f"{BASE}/reauthenticate/passkey", json=proof(authenticator, ceremony))
    assert (answer.status_code, "rpv_" in answer.text) == (200, False)
    assert mina.http.cookies["session"] != before
    bearer = {"Authorization": f"Bearer {mina.http.cookies['session']}"}
    async with httpx.AsyncClient(base_url=mina.http.base_url, headers=bearer) as robot:
        ceremony = await begin(robot, "reauthenticate/passkey")
        answer = await robot.post(f"{BASE}/reauthenticate/passkey", json=proof(authenticator, ceremony))
        assert "set-cookie" not in answer.headers
        assert answer.json()["token"].startswith("rpv_")


async def test_a_passkey_is_named_and_removed_over_the_api(mina: Account) -> None:
    _, passkey_id = await add(mina.http)
    path = f"{BASE}/passkeys/{passkey_id}"
    renamed = await mina.http.patch(path, json={"name": "Key"})
    assert renamed.json()["passkey"]["name"] == "Key"
    body = (await mina.http.get(f"{BASE}/passkeys")).json()
    assert (body["available"], body["limit"], [passkey["name"] for passkey in body["passkeys"]]) == (
        True,
        10,
        ["Key"],
    )
    assert (await mina.http.options(f"{BASE}/passkeys")).headers["allow"] == "GET, HEAD, POST"
    assert (await mina.http.patch(path, json={"name": " "})).status_code == 422
    assert [(await mina.http.delete(path)).status_code for _ in range(2)] == [204, 404]
    assert (await mina.http.delete(f"{BASE}/passkeys/x")).status_code == 404


async def test_a_passkey_is_named_and_removed_by_forms(mina: Account, database: Callable[[str], AsyncEngine]) -> None:
    _, passkey_id = await add(mina.http)

    async def page() -> Page:
        return Page(await mina.http.get(SECURITY, headers=HTML))

    renamed = await submit(mina.http, await page(), f"{SECURITY}/rename-passkey", name="<Key>")
    assert renamed.status_code == 303
    response = await mina.http.get(SECURITY, headers=HTML)
    assert "&lt;Key&gt;" in response.text
    assert "Passkey renamed." in response.text
    nameless = await submit(mina.http, await page(), f"{SECURITY}/rename-passkey", name=" ")
    assert (nameless.status_code, "Enter a name for the passkey" in nameless.text) == (422, True)
    before = await page()
    await age_sessions(database("auth"), mina.user_id, timedelta(minutes=11))
    stale = await submit(mina.http, before, f"{SECURITY}/remove-passkey")
    assert stale.headers["location"] == f"/reauthenticate?next={SECURITY}"
    proving = Page(await mina.http.get(stale.headers["location"], headers=HTML))
    await submit(mina.http, proving, "/reauthenticate", password="tulip-anvil-rowing")
    removed = await submit(mina.http, await page(), f"{SECURITY}/remove-passkey")
    assert removed.status_code == 303
    again = await submit(mina.http, before, f"{SECURITY}/remove-passkey")
    assert again.status_code == 303
    assert "This passkey was already removed." in (await mina.http.get(SECURITY, headers=HTML)).text
    assert passkey_id not in (await mina.http.get(f"{BASE}/passkeys")).text


async def test_pages_explain_missing_passkey_support(account: Account) -> None:
    for path in ("passkeys", "login/passkey", "reauthenticate/passkey"):
        response = await account.http.post(f"{BASE}/{path}/options")
        assert (response.status_code, response.json()["code"]) == (409, "passkeys_unavailable")
    assert "Passkeys need https and a domain name" in (await account.http.get(SECURITY, headers=HTML)).text
    foreign = await account.http.post(f"{BASE}/login/passkey/options", headers={"Origin": "https://evil.example"})
    assert (foreign.status_code, foreign.json()["code"]) == (403, "cross_site_request")
