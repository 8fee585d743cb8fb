"""The whole flow at a certified OpenID provider: consent, access, renewal with rotation, revocation."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest

from services.auth.connections.domain import State, StateInvalid
from services.auth.connections.platforms import Platform


async def consent(authorization_url: str, *, login: str, refuse: bool = False) -> str:
    """Sign in and consent as a user in a browser; return the URL of the final redirect."""
    async with httpx.AsyncClient(follow_redirects=False) as http:
        url, sent = authorization_url, None
        for _ in range(12):
            answer = await (http.post(url, data=sent) if sent else http.get(url))
            if answer.is_redirect:
                url, sent = urljoin(url, answer.headers["Location"]), None
                if url.startswith("http://127.0.0.1:8080/"):
                    return url
                continue
            page = answer.text
            assert answer.status_code == 200, page
            if refuse and (abort := re.search(r'href="([^"]*/abort)"', page)):
                url, sent = urljoin(url, abort[1]), None
                continue
            [prompt] = re.findall(r'name="prompt" value="(\w+)"', page)
            [action] = re.findall(r'<form[^>]*action="([^"]+)"', page)
            url = urljoin(url, action)
            sent = {"prompt": prompt, "login": login, "password": "x"} if prompt == "login" else {"prompt": prompt}
    raise AssertionError("the provider never sent the browser back")


@pytest.fixture
async def honest(new_owner: Callable[..., Awaitable[Any]]) -> Any:
    return await new_owner("honest")


async def test_access_is_granted_renewed_with_rotation_and_revoked(honest: Any, query: Any) -> None:
    authorization = await honest.begin("/demo?tab=1")
    parameters = query(authorization.authorization_url)
    assert (parameters["code_challenge_method"], len(parameters["code_challenge"])) == ("S256", 43)
    assert parameters["redirect_uri"] == "http://127.0.0.1:8080/api/v1/connections/honest/callback"

    back = query(await consent(authorization.authorization_url, login=str(honest.user_id)))
    assert back["iss"]
    assert (await honest.come_back(back)).has_pending_job
    await honest.connect()

    connected = await honest.connection()
    assert connected.state is State.CONNECTED
    assert connected.account.external_id == str(honest.user_id)
    assert connected.account.name == f"Ada {honest.user_id}"
    assert connected.account.picture_url == "https://images.example/ada.png"
    assert connected.account.url == "", "a link must be https"
    first = await honest.tokens()

    await honest.age("refresh_at", "1 day")
    assert await honest.refresh() == {"refreshed": True}
    second = await honest.tokens()
    assert first.refresh_token != second.refresh_token
    assert first.access_token != second.access_token

    await honest.disconnect()
    assert await honest.take_back() == {"revoked": True}
    connection = await honest.connection()
    assert (connection.state, connection.account, await honest.stored()) == (State.DISCONNECTED, None, None)
    assert [reason for reason, _ in await honest.published_events()] == [
        "connect_begun",
        "consent_given",
        "connected",
        "refreshed",
        "disconnect_accepted",
        "disconnected",
    ]
    versions = [version for _, version in await honest.published_events()]
    assert versions == list(range(1, len(versions) + 1))


async def test_revoked_tokens_are_invalid_at_the_provider(
    honest: Any, query: Any, offered: tuple[Platform, ...]
) -> None:
    authorization = await honest.begin()
    await honest.come_back(query(await consent(authorization.authorization_url, login=str(honest.user_id))))
    await honest.connect()
    tokens = await honest.tokens()
    provider = honest.parts.dependencies.providers["honest"]
    assert (await provider.account(tokens)).external_id == str(honest.user_id)
    await honest.disconnect()
    await honest.take_back()
    with pytest.raises(Exception, match="answered 401"):
        await provider.account(tokens)


async def test_a_user_who_refuses_is_disconnected(honest: Any, query: Any) -> None:
    authorization = await honest.begin()
    back = query(await consent(authorization.authorization_url, login=str(honest.user_id), refuse=True))
    assert back["error"] == "access_denied"
    assert (await honest.come_back(back)).state is State.DISCONNECTED
    assert (await honest.published_events())[-1][0] == "access_denied"
    assert not await honest.row_exists("connection_secrets")


async def test_callback_without_or_with_a_foreign_issuer_is_refused_and_uses_nothing_up(
    honest: Any, query: Any
) -> None:
    authorization = await honest.begin()
    back = query(await consent(authorization.authorization_url, login=str(honest.user_id)))
    for issuer in ("", "https://evil.example", back["iss"] + "/"):
        with pytest.raises(StateInvalid):
            await honest.come_back({**back, "iss": issuer})
    assert (await honest.come_back(back)).has_pending_job


async def test_a_code_of_another_transaction_is_refused_by_the_provider(
    honest: Any, query: Any, new_owner: Callable[..., Awaitable[Any]]
) -> None:
    victim = await new_owner("honest")
    stolen = query(await consent((await victim.begin()).authorization_url, login=str(victim.user_id)))
    back = query(await consent((await honest.begin()).authorization_url, login=str(honest.user_id)))
    await honest.come_back({**back, "code": stolen["code"]})
    with pytest.raises(Exception, match="consent could not be used"):
        await honest.connect()
    failed = await honest.connection()
    assert (failed.state, failed.error.code) == (State.FAILED, "consent_expired")
    assert await honest.stored() is None
