"""Connections to platforms in the API and on pages. Tests of auth cover the exchange with the platform."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from tests.integration.gateway.conftest import Account
from tests.integration.gateway.html import HTML, Page, submit
from tests.integration.gateway.streaming import Event, opened

PATH = "/settings/connections"
BASE = "/api/v1/connections"


async def until(account: Account, status: str, platform: str = "youtube") -> None:
    async with opened(account.http) as stream:
        if (await account.http.get(f"{BASE}/{platform}")).json()["status"] != status:
            await stream.until(lambda event: event.name == "connection" and event.data["status"] == status)


async def test_each_platform_has_one_connection(account: Account) -> None:
    connections = (await account.http.get(BASE)).json()["connections"]
    assert [(item["platform"], item["status"], item["version"]) for item in connections] == [
        ("youtube", "disconnected", 0),
        ("instagram", "disconnected", 0),
    ]
    assert (await account.http.get(f"{BASE}/youtube")).json() == connections[0]
    unknown = await account.http.get(f"{BASE}/myspace")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "platform_not_found")


async def test_connecting_leads_to_the_platform_and_the_stream_shows_it(account: Account, url: str) -> None:
    async with opened(account.http) as stream:
        response = await account.http.post(f"{BASE}/youtube/connect", json={"return_to": "/dashboard"})
        assert (response.status_code, response.json()["status"]) == (202, "connecting")
        query = parse_qs(urlsplit(response.json()["authorization_url"]).query)
        assert query["redirect_uri"] == ["http://127.0.0.1:8080/api/v1/connections/youtube/callback"]
        assert query["code_challenge_method"] == ["S256"]
        event = (await stream.until(lambda event: event.name == "connection"))[-1]
        # The same JSON as in the API.
        assert event.data == (await account.http.get(f"{BASE}/youtube")).json()
        assert event.id is None
    # A later or resumed stream starts with the current connection.
    async with opened(account.http, header=0) as again:
        resumed: list[Event] = await again.until(lambda event: event.name == "connection")
        assert resumed[-1].data["version"] == event.data["version"]
    refusal = await account.http.get(
        f"{BASE}/youtube/callback", params={"error": "access_denied", "state": query["state"][0]}
    )
    assert (refusal.status_code, refusal.headers["location"]) == (303, "/dashboard")
    await until(account, "disconnected")


async def test_reload_after_a_consent_reports_no_failure(account: Account) -> None:
    response = await account.http.post(f"{BASE}/youtube/connect", json={"return_to": "/dashboard"})
    state = parse_qs(urlsplit(response.json()["authorization_url"]).query)["state"][0]
    addresses = []
    for _ in range(2):
        answer = await account.http.get(f"{BASE}/youtube/callback", params={"code": "c", "state": state})
        addresses.append((answer.status_code, answer.headers["location"]))
    assert addresses == [(303, "/dashboard"), (303, PATH)]
    assert "expired or belongs to another session" not in Page(await account.http.get(PATH, headers=HTML)).text


@pytest.mark.parametrize(
    "query",
    ["", "state=x&code=y", "state=x&state=y&code=z", "code=y", f"state={'s' * 5_000}&code=y", "state=%00&code=%ff"],
)
async def test_an_unexpected_callback_changes_nothing(account: Account, query: str) -> None:
    answer = await account.http.get(f"{BASE}/youtube/callback?{query}")
    assert (answer.status_code, answer.headers["location"]) == (303, PATH)
    assert "expired or belongs to another session" in Page(await account.http.get(PATH, headers=HTML)).text
    assert (await account.http.get(f"{BASE}/youtube")).json()["version"] == 0


async def test_a_callback_without_session_leads_to_the_login(url: str) -> None:
    async with httpx.AsyncClient(base_url=url) as http:
        answer = await http.get(f"{BASE}/youtube/callback", params={"state": "x", "code": "y"})
    assert (answer.status_code, answer.headers["location"]) == (303, f"/login?next={PATH}")


@pytest.mark.parametrize("return_to", ["https://evil.example", "//evil.example", "/\\evil.example", "dashboard"])
async def test_return_to_must_be_a_local_path(account: Account, return_to: str) -> None:
    answer = await account.http.post(f"{BASE}/youtube/connect", json={"return_to": return_to})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "return_to")


async def test_the_page_connects_without_javascript(account: Account) -> None:
    http = account.http
    page = Page(await http.get(PATH, headers=HTML))
    assert "YouTube" in page.text
    on = await submit(http, page, f"{PATH}/connect", platform="youtube")
    assert (on.status_code, on.headers["referrer-policy"]) == (200, "no-referrer")
    assert '<meta http-equiv="refresh" content="0;url=https://accounts.google.com/' in on.text
    page = Page(await http.get(PATH, headers=HTML))
    assert page.attributes["connection-youtube"]["data-status"] == "connecting"
    cancelled = await submit(http, page, f"{PATH}/disconnect", platform="youtube")
    assert (cancelled.status_code, cancelled.headers["location"]) == (303, PATH)
    await until(account, "disconnected")
    unknown = await submit(http, page, f"{PATH}/disconnect", platform="myspace")
    assert unknown.status_code == 303
    assert "This platform is not available." in Page(await http.get(PATH, headers=HTML)).text


async def test_connections_are_simulated_while_demo_mode_is_on(account: Account) -> None:
    http = account.http
    before = Page(await http.get(PATH, headers=HTML))
    await http.post("/api/v1/demo/enable", json={"content_count": 1, "interaction_count": 1})
    response = await http.post(f"{BASE}/youtube/connect")
    assert (response.status_code, response.json()["code"]) == (409, "demo_mode_active")
    page = Page(await http.get(PATH, headers=HTML))
    simulated = "Simulated while demo mode is on.|Demo mode is being enabled."
    assert re.search(simulated, page.text)
    assert f"{PATH}/connect" not in page.forms
    late = await submit(http, before, f"{PATH}/connect", platform="youtube")
    assert (late.status_code, late.headers["location"]) == (303, PATH)
    assert re.search(simulated, Page(await http.get("/dashboard", headers=HTML)).text)
