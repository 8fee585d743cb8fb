"""Connecting a platform in a browser: consent, the redirect back, and the page meanwhile."""

from __future__ import annotations

import pytest
from playwright.async_api import Locator, Page, expect

from dev import fake_provider
from tests.acceptance.users import User
from tests.browser.visitor import TIMEOUT_MS, Visitor

CONNECTIONS = "/settings/connections"


@pytest.fixture
def platform(platforms: dict[str, str]) -> str:
    """Return the URL of the fake provider."""
    return platforms[f"PLATFORM_{fake_provider.NAME.upper()}_ISSUER"]


def card(page: Page) -> Locator:
    """The platform's card."""
    return page.get_by_role("listitem").filter(has=page.get_by_role("heading", name=fake_provider.TITLE))


async def consent(page: Page, choice: str, *, name: str = "Mina Okafor") -> None:
    """Connect, and decide at the platform."""
    await card(page).get_by_role("button", name="Connect").click()
    await expect(page.get_by_role("heading", name=fake_provider.TITLE)).to_be_visible(timeout=TIMEOUT_MS)
    await page.get_by_label("Who do you want to be?").fill(name)
    await page.get_by_role("button", name=choice).click()
    await expect(page.get_by_role("heading", name="Connections", exact=True)).to_be_visible(timeout=TIMEOUT_MS)


async def test_a_platform_is_connected_and_disconnected_while_the_page_follows(
    mina: Visitor, platform: str, user: User
) -> None:
    mina.allow_site(platform)
    page, other = await mina.open(CONNECTIONS), await mina.open(CONNECTIONS)
    await consent(page, "Allow", name=user.email)
    for tab in (page, other):
        await expect(card(tab)).to_contain_text("Connected", timeout=TIMEOUT_MS)
        await expect(card(tab)).to_contain_text(user.email, timeout=TIMEOUT_MS)
    await card(page).get_by_role("button", name="Disconnect").click()
    for tab in (page, other):
        await expect(card(tab).get_by_role("button", name="Connect")).to_be_visible(timeout=TIMEOUT_MS)


async def test_refused_consent_does_not_connect(mina: Visitor, platform: str) -> None:
    mina.allow_site(platform)
    page = await mina.open(CONNECTIONS)
    await consent(page, "Deny")
    await expect(card(page)).to_contain_text("Not connected", timeout=TIMEOUT_MS)
    message = page.get_by_text("You declined access at the platform.")
    await expect(message).to_be_visible()
    await page.get_by_role("button", name="Close message").click()
    await expect(message).to_have_count(0)


async def test_abandoned_consent_can_be_restarted_or_cancelled(mina: Visitor, platform: str) -> None:
    mina.allow_site(platform)
    page = await mina.open(CONNECTIONS)
    await card(page).get_by_role("button", name="Connect").click()
    await expect(page.get_by_role("heading", name=fake_provider.TITLE)).to_be_visible(timeout=TIMEOUT_MS)
    await page.close()
    page = await mina.open(CONNECTIONS)
    await expect(card(page)).to_contain_text("Waiting for your consent", timeout=TIMEOUT_MS)
    await card(page).get_by_role("button", name="Cancel").click()
    await expect(card(page).get_by_role("button", name="Connect")).to_be_visible(timeout=TIMEOUT_MS)


async def test_while_demo_mode_is_on_connections_are_simulated(mina: Visitor, user: User) -> None:
    page = await mina.open(CONNECTIONS)
    await expect(page.get_by_text("Simulated while demo mode is on.")).to_have_count(0)
    # The open page follows.
    await user.enable({"content_count": 2, "interaction_count": 10})
    await expect(card(page)).to_contain_text("Simulated", timeout=TIMEOUT_MS)
    await expect(card(page).get_by_role("button", name="Connect")).to_be_disabled(timeout=TIMEOUT_MS)
    await expect(page.get_by_role("main")).to_contain_text("Simulated while demo mode is on", timeout=TIMEOUT_MS)
