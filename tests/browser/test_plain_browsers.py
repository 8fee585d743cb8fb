"""A browser without JavaScript. test_accessibility.py has narrow screens, test_keyboard.py keyboards alone."""

from __future__ import annotations

import re

from playwright.async_api import expect

from dev import fake_provider
from tests.acceptance.system import System
from tests.acceptance.users import User
from tests.browser.conftest import NewVisitor
from tests.browser.visitor import enable, shows


async def test_everything_works_without_javascript(new_visitor: NewVisitor, system: System) -> None:
    visitor = await new_visitor(java_script_enabled=False)
    page = await visitor.open("/")
    await visitor.register(page)
    async with system.paused_kinds("demo.enable"):
        await enable(page, 200)
        await shows(page, "Demo mode is being enabled")
        await expect(page.locator("noscript p")).to_be_visible()
    await shows(page, "Demo mode active")

    await page.get_by_role("link", name="Dashboard", exact=True).click()
    await shows(page, "Latest interactions")
    await page.goto("/settings/exports")
    await page.get_by_role("button", name="Export my reviews").click()
    # The page reloads until the file is ready.
    await shows(page, "Your export is ready")
    async with page.expect_download() as download:
        await page.get_by_role("link", name="Download CSV").click()
    assert len((await (await download.value).path()).read_text().splitlines()) > 200

    await page.goto("/settings/demo-mode")
    await page.get_by_role("link", name="Disable demo mode").click()
    await page.get_by_role("button", name="Yes, disable it").click()
    await shows(page, "Demo mode is disabled")
    await expect(page.get_by_text("200 interactions, 60 content items")).to_be_visible()
    await page.get_by_role("button", name="Sign out").click()
    await shows(page, "Welcome back")
    await expect(page.locator("[data-reveal]")).to_have_count(1)
    await expect(page.locator("[data-reveal]")).to_be_hidden()


async def test_platform_is_connected_and_token_made_without_javascript(
    new_visitor: NewVisitor, user: User, platforms: dict[str, str]
) -> None:
    visitor = await new_visitor(java_script_enabled=False)
    await visitor.sign_in_as(user)
    visitor.allow_site(platforms[f"PLATFORM_{fake_provider.NAME.upper()}_ISSUER"])
    page = await visitor.open("/settings/connections")
    card = page.get_by_role("listitem").filter(has=page.get_by_role("heading", name=fake_provider.TITLE))
    await card.get_by_role("button", name="Connect").click()
    await page.get_by_label("Who do you want to be?").fill(user.email)
    await page.get_by_role("button", name="Allow").click()
    await expect(card).to_contain_text("Connected")
    await expect(card).to_contain_text(user.email)

    await page.goto("/settings/tokens")
    await page.get_by_label("Name").fill("Nightly report")
    await page.get_by_role("button", name="Create token").click()
    await expect(page.locator("#api-token")).to_have_text(re.compile("rpa_[0-9A-Za-z]{49}"))
    await page.goto("/settings/tokens")
    await page.get_by_role("button", name="Revoke").click()
    await expect(page.get_by_text("API token revoked.")).to_be_visible()
