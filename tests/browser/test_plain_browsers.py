"""Limited browsers: without JavaScript, with a narrow screen. test_keyboard.py has those without a mouse."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.acceptance.users import User
from tests.browser.conftest import NewVisitor
from tests.browser.visitor import SETTINGS, enable, shows

WIDEST = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


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


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_nothing_is_wider_than_a_phone(new_visitor: NewVisitor, user: User, scheme: str) -> None:
    visitor = await new_visitor(viewport={"width": 320, "height": 640}, color_scheme=scheme)
    visitor.allow_messages("404")
    for path in ("/login", "/register", "/nowhere"):
        page = await visitor.open(path)
        assert await page.evaluate(WIDEST) <= 0, path
    await visitor.sign_in_as(user)
    for path in ("/dashboard", SETTINGS):
        page = await visitor.open(path)
        assert await page.evaluate(WIDEST) <= 0, path
    await user.enable({"niche": "food", "interaction_count": 300})
    for path in (SETTINGS, "/dashboard"):
        page = await visitor.open(path)
        assert await page.evaluate(WIDEST) <= 0, path
    await shows(page, "Demo mode active")
    assert await page.evaluate(WIDEST) <= 0
