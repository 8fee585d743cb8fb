"""The dashboard and the demo mode page in each state, without JavaScript."""

from __future__ import annotations

import asyncio
import dataclasses
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import LiteralString

import httpx
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from dev import subprocesses
from gateway import clients
from gateway.pages import loaders
from gateway.settings import Settings
from tests.integration.gateway.conftest import Account, gateway_serving
from tests.integration.gateway.html import Page, submit

SETTINGS = "/settings/demo-mode"
SMALL = {"content_count": "5", "interaction_count": "40"}
BIG = {"content_count": "5", "interaction_count": "20000"}
"""Several batches: the worker learns of a cancel request before the last one is written."""
HOSTILE = '<img src=x onerror=alert(1)> & "quotes"'
Register = Callable[..., Awaitable[Account]]
Hold = Callable[[], AbstractAsyncContextManager[None]]


async def probe(account: Account, path: str = SETTINGS) -> Page:
    answer = await account.http.get(path, headers={"Accept": "text/html"})
    assert answer.status_code == 200, answer.text
    return Page(answer)


async def until(account: Account, words: str, path: str = SETTINGS) -> Page:
    async with asyncio.timeout(60):
        while words not in (page := await probe(account, path)).text:
            await asyncio.sleep(0.05)
    return page


async def until_jobs_ended(account: Account) -> Page:
    """Return the page after all jobs have ended: a job ends a moment after demo mode has changed."""
    async with asyncio.timeout(60):
        while (await account.http.get("/api/v1/jobs?status=running&status=pending")).json()["jobs"]:
            await asyncio.sleep(0.05)
    return await probe(account)


async def act(account: Account, page: Page, name: str, **values: str) -> str:
    """Send a form; return the target of the redirect."""
    answer = await submit(account.http, page, f"{SETTINGS}/{name}", **values)
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


async def enabled(account: Account) -> Page:
    await act(account, await probe(account), "enable", **SMALL)
    return await until(account, "Demo Mode Active")


@pytest.fixture
def writes_held(locked: Callable[[LiteralString], AbstractAsyncContextManager[None]]) -> Hold:
    """Return a context in which no job writes rows."""
    return lambda: locked("LOCK TABLE demo.content, demo.interactions IN SHARE MODE")


@pytest.fixture
async def without_demo(gateway_settings: Callable[[], Settings]) -> AsyncIterator[str]:
    """Run a gateway whose demo service is down."""
    config = dataclasses.replace(gateway_settings(), demo_target=f"127.0.0.1:{subprocesses.free_port()}")
    async with gateway_serving(config, probe="/healthz") as url:
        yield url


@pytest.fixture
async def without_jobs(gateway_settings: Callable[[], Settings]) -> AsyncIterator[str]:
    """Run a gateway whose jobs service is down."""
    config = dataclasses.replace(gateway_settings(), jobs_target=f"127.0.0.1:{subprocesses.free_port()}")
    async with gateway_serving(config, probe="/healthz") as url:
        yield url


async def test_from_off_to_active_and_back(account: Account, writes_held: Hold) -> None:
    page = await probe(account)
    assert "Demo mode is disabled" in page.text
    assert page.attributes["live"]["data-status"] == "disabled"
    assert "No comments or reviews yet" in (await probe(account, "/dashboard")).text

    async with writes_held():
        answer = await submit(account.http, page, f"{SETTINGS}/enable", **SMALL, niche="food")
        assert (answer.status_code, answer.headers["location"]) == (303, SETTINGS)
        page = await probe(account)
        assert "Demo mode is being enabled" in page.text
        job_id = page.attributes["live"]["data-job-id"]
        assert job_id in page.text
        assert "You can close this tab" in page.text
        assert "progress" in page.tags
        dashboard = await probe(account, "/dashboard")
        assert "Demo Mode Setting Up" in dashboard.text
        assert "Your inbox is being prepared" in dashboard.text

    await until(account, "Demo Mode Active")
    page = await until_jobs_ended(account)
    assert "Demo mode is enabled. 40 interactions and 5 content items are ready." in page.text
    dashboard = await probe(account, "/dashboard")
    assert "Demo Mode Active" in dashboard.text
    assert "Manage Demo" in dashboard.text
    assert "Latest interactions" in dashboard.text
    assert "Food" in page.text

    confirmation = await probe(account, f"{SETTINGS}?confirm=disable")
    assert "This removes 40 interactions and 5 content items" in confirmation.text
    async with writes_held():
        await act(account, confirmation, "disable")
        assert "Demo mode is being disabled" in (await probe(account)).text
        dashboard = await probe(account, "/dashboard")
        assert "Demo mode is being disabled" in dashboard.text
        assert "Latest interactions" not in dashboard.text
    await until(account, "Demo mode is disabled")
    page = await until_jobs_ended(account)
    assert "Sample data removed: 40 interactions, 5 content items" in page.text
    # The page has shown how both jobs ended.
    assert "unread" not in (await probe(account)).text


async def test_a_waiting_job_says_what_it_waits_for(account: Account, admin: httpx.AsyncClient) -> None:
    paused = await admin.post("/api/v1/admin/kinds/demo.enable/pause")
    try:
        await act(account, await probe(account), "enable", **SMALL)
        page = await until(account, "Jobs of this type are paused")
        assert page.attributes["live"]["data-refresh-seconds"] == "5"
    finally:
        await admin.post("/api/v1/admin/kinds/demo.enable/resume")
    assert paused.status_code == 200
    await until(account, "Demo Mode Active")


async def test_stream_of_a_page_starts_at_the_state_of_the_page(account: Account) -> None:
    assert (await account.http.get(SETTINGS)).text.count('data-last-event-id="0"') == 1
    await enabled(account)
    # The job completes a moment after demo mode is enabled.
    async with asyncio.timeout(60):
        while (await account.http.get(SETTINGS)).text.count('data-last-event-id="3"') != 1:
            await asyncio.sleep(0.05)


async def test_fragment_has_the_changing_part_of_a_page(account: Account) -> None:
    await enabled(account)
    for path in (SETTINGS, "/dashboard"):
        whole = await probe(account, path)
        answer = await account.http.get(path, headers={"X-Fragment": "status"})
        assert answer.headers["cache-control"] == "no-store"
        fragment = Page(answer)
        assert "html" not in fragment.tags
        assert fragment.attributes["live"] == whole.attributes["live"]
        assert fragment.attributes["demo-badge"] == whole.attributes["demo-badge"]


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("content_count", "0", "Enter a number from 1 to 1,000."),
        ("content_count", HOSTILE, "Enter a whole number from 1 to 1,000."),
        ("interaction_count", "100001", "Enter a number from 0 to 100,000."),
        ("niche", "<b>", "Choose one of the options."),
        ("profile_type", "pirate", "Choose one of the options."),
    ],
)
async def test_error_is_shown_beside_its_field(account: Account, field: str, value: str, sentence: str) -> None:
    page = await probe(account)
    answer = await submit(account.http, page, f"{SETTINGS}/enable", **{"interaction_count": "77", field: value})
    assert answer.status_code == 422
    again = Page(answer)
    assert sentence in again.text
    assert f"{field}-error" in again.attributes
    assert again.attributes[field]["aria-invalid"] == "true"
    assert again.attributes["live"]["data-status"] == "disabled"
    assert not {"<img", "<b>"} & set(answer.text.split())
    if field != "interaction_count":
        assert again.attributes["interaction_count"]["value"] == "77"
    # Reloading the response to a form shows the page.
    reloaded = await account.http.get(f"{SETTINGS}/enable")
    assert (reloaded.status_code, reloaded.headers["location"]) == (303, SETTINGS)


async def test_empty_counts_are_the_defaults(account: Account) -> None:
    await act(account, await probe(account), "enable", content_count="", interaction_count="")
    assert (await account.http.get("/api/v1/demo/status")).json()["stats"]["interactions"] == 2_000
    await until(account, "Demo Mode Active")


async def test_cancel_leads_back_to_off(account: Account, writes_held: Hold) -> None:
    page = await probe(account)
    async with writes_held():
        await act(account, page, "enable", profile_type="brand", **BIG)
        moving = await until(account, "Writing")
        assert await act(account, moving, "cancel") == SETTINGS
        assert f"{SETTINGS}/cancel" not in (await until(account, "Cancelling")).forms
    off = await until(account, "Demo mode is disabled")
    assert "removed" not in off.text
    # The choices are kept.
    assert off.forms[f"{SETTINGS}/enable"]["interaction_count"] == BIG["interaction_count"]
    assert off.forms[f"{SETTINGS}/enable"]["profile_type"] == "brand"
    # The form that was sent before does nothing; a fresh one does.
    await act(account, page, "enable", **SMALL)
    assert "This form was already sent" in (await probe(account)).text
    await act(account, await probe(account), "enable", **SMALL)
    await until(account, "Demo Mode Active")


async def test_change_by_another_tab_is_reported(account: Account) -> None:
    stale, used = await probe(account), await probe(account)
    await act(account, used, "enable", **SMALL)
    active = await until(account, "Demo Mode Active")
    await act(account, stale, "enable", **SMALL)
    page = await probe(account)
    assert "Demo mode changed in the meantime." in page.text
    assert "Demo Mode Active" in page.text
    assert "in the meantime" not in (await probe(account)).text

    await act(account, used, "enable", niche="travel")
    assert "This form was already sent" in (await probe(account)).text
    await account.http.post("/api/v1/demo/disable")
    await act(account, active, "disable")
    assert "Demo mode changed in the meantime." in (await probe(account)).text


@pytest.fixture
async def failed(account: Account, database: Callable[[str], AsyncEngine]) -> Account:
    """A user whose demo mode failed with a message full of markup."""
    await enabled(account)
    change = sa.text(
        "UPDATE demo.demo_modes SET state = 'failed', previous_state = 'enabling', enabled_at = NULL, error_code = 'odd',"
        " error_message = :message, version = version + 1 WHERE owner_id = :owner"
    )
    async with database("demo").begin() as conn:
        await conn.execute(change, {"message": HOSTILE, "owner": uuid.UUID(account.user_id)})
    return account


@pytest.mark.parametrize("path", [SETTINGS, "/dashboard"])
async def test_failure_is_shown_and_can_be_dismissed_there(failed: Account, path: str) -> None:
    answer = await failed.http.get(path)
    page = Page(answer)
    assert HOSTILE in page.text
    assert HOSTILE in page.attributes["live"]["data-announce"]
    assert "<img" not in answer.text
    assert "Enabling demo mode failed" in page.text
    assert f"{SETTINGS}/retry" in page.forms
    assert await act(failed, page, "dismiss") == path
    page = await probe(failed, path)
    assert "Failure dismissed." in page.text
    assert page.attributes["live"]["data-status"] == "disabled"


async def test_failed_removal_has_its_own_message(failed: Account, database: Callable[[str], AsyncEngine]) -> None:
    change = sa.text("UPDATE demo.demo_modes SET job_kind = 'demo.disable' WHERE owner_id = :owner")
    async with database("demo").begin() as conn:
        await conn.execute(change, {"owner": uuid.UUID(failed.user_id)})
    assert "Disabling demo mode failed" in (await probe(failed)).text
    assert (await failed.http.get("/api/v1/demo/status")).json()["job_kind"] == "demo.disable"


async def test_retry_and_cancel_apply_to_the_shown_job(account: Account, register: Register) -> None:
    active = await enabled(account)
    job_id = active.attributes["live"]["data-job-id"]
    for name in ("retry", "cancel"):
        for http in (account.http, (await register()).http):
            token = Page(await http.get(SETTINGS)).forms["/logout"]["form_token"]
            fields = {"job_id": job_id, "origin": "https://evil.example", "form_token": token}
            answer = await http.post(f"{SETTINGS}/{name}", data=fields)
            assert (answer.status_code, answer.headers["location"]) == (303, SETTINGS)
            assert "Demo mode changed in the meantime." in Page(await http.get(SETTINGS)).text
        token = active.forms["/logout"]["form_token"]
        fields = {"job_id": "x", "form_token": token}
        assert (await account.http.post(f"{SETTINGS}/{name}", data=fields)).status_code == 422
    assert (await probe(account)).attributes["live"]["data-status"] == "enabled"


async def test_pages_without_the_demo_service_name_the_outage(
    without_demo: str, register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients.Demo, "timeout", 0.5)
    account = await register(without_demo)
    page = await probe(account)
    assert "Can’t load demo mode" in page.text
    assert page.attributes["live"]["data-version"] == "-1"
    assert "Can’t load your numbers" in (await probe(account, "/dashboard")).text
    fields = {"form_token": page.forms["/logout"]["form_token"]}
    await account.http.post(f"{SETTINGS}/disable", data=fields)
    assert "Demo mode isn't responding. Nothing was changed." in (await probe(account)).text
    assert (await account.http.get("/", headers={"Accept": "text/html"})).headers["location"] == "/dashboard"


async def test_pages_without_the_jobs_service_are_complete(
    without_jobs: str, register: Register, admin: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = await register(without_jobs)
    assert "Demo mode is disabled" in (await probe(account)).text
    assert (await account.http.get("/dashboard")).text.count('data-last-event-id=""') == 1
    monkeypatch.setattr(clients.Engine, "timeout", 0.5)
    # Operators read which part does not respond, and keep the navigation.
    page = Page(await admin.get(f"{without_jobs}/admin", headers={"Accept": "text/html"}))
    assert "Temporarily unavailable" in page.text
    assert "Jobs aren't responding" in page.text
    assert "/admin/users" in page.links


async def test_pages_without_the_auth_service_show_an_error(
    gateway_settings: Callable[[], Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients.Auth, "timeout", 0.5)
    config = dataclasses.replace(gateway_settings(), auth_target=f"127.0.0.1:{subprocesses.free_port()}")
    async with (
        gateway_serving(config, probe="/healthz") as url,
        httpx.AsyncClient(base_url=url, headers={"Accept": "text/html"}, timeout=60.0) as http,
    ):
        page = Page(await http.get("/login"))
        answer = await submit(http, page, "/login", email="mina@example.org", password="tulip-anvil-rowing")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert "This is temporarily unavailable." in Page(answer).text
        assert Page(answer).forms["/login"]["email"] == "mina@example.org"
        answer = await http.get("/dashboard", headers={"Cookie": "session=" + "a" * 43})
        assert answer.status_code == 503
        assert "Temporarily unavailable" in Page(answer).text


async def test_unexpected_error_is_a_page(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(loaders, "demo_status", fail)
    answer = await account.http.get(SETTINGS, headers={"Accept": "text/html"})
    assert answer.status_code == 500
    assert "Something went wrong" in Page(answer).text
    assert "secret" not in answer.text
    assert answer.headers["content-security-policy"]


async def test_nothing_can_be_broken_without_the_setting(account: Account) -> None:
    page = await probe(account)
    assert "Break it yourself" not in page.text
    sent = page.forms[f"{SETTINGS}/enable"]
    for answer in (
        await account.http.get(f"{SETTINGS}/break"),
        await account.http.post(f"{SETTINGS}/break/start", data=sent),
        await account.http.post(f"{SETTINGS}/break/part", data={**sent, "part": "worker"}),
    ):
        assert answer.status_code == 404
