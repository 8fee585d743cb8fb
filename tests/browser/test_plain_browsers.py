"""A browser without JavaScript. test_accessibility.py has narrow screens, test_keyboard.py keyboards alone."""

from __future__ import annotations

from playwright.async_api import expect

from tests.browser.conftest import NewVisitor
from tests.browser.visitor import enable, shows


async def test_everything_works_without_javascript(new_visitor: NewVisitor) -> None:
    visitor = await new_visitor(java_script_enabled=False)
    page = await visitor.open("/")
    await visitor.register(page)
    await enable(page, 200)
    await shows(page, "Demo mode is being enabled")
    await expect(page.locator("noscript p")).to_be_visible()
    await shows(page, "Demo mode active")

    await page.get_by_role("link", name="Dashboard", exact=True).click()
    await shows(page, "Latest interactions")
    await page.get_by_role("link", name="Manage Demo").click()
    await page.get_by_role("link", name="Disable demo mode").click()
    await page.get_by_role("button", name="Yes, disable it").click()
    await shows(page, "Demo mode is disabled")
    await expect(page.get_by_text("200 interactions, 60 content items")).to_be_visible()
    await page.get_by_role("button", name="Sign out").click()
    await shows(page, "Welcome back")
    await expect(page.locator("[data-reveal]")).to_have_count(1)
    await expect(page.locator("[data-reveal]")).to_be_hidden()
