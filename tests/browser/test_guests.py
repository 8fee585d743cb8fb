"""The first minute of a visitor: the front page, and the demo without an account."""

from __future__ import annotations

from playwright.async_api import expect

from tests.acceptance.system import System
from tests.browser.visitor import Visitor, is_still_the_same, mark, shows


async def test_stranger_tries_the_demo_and_then_registers(system: System, visitor: Visitor) -> None:
    page = await visitor.open("/")
    await shows(page, "Answer every comment and review from one place")
    await page.get_by_role("button", name="Try the demo").click()
    await page.wait_for_url("**/dashboard")
    await expect(page.get_by_text("You are trying Repruv as a guest.")).to_be_visible()
    await mark(page)
    await expect(page.get_by_text("Arriving now")).to_be_visible()
    async with system.hurried_workers():
        await expect(page.get_by_text("Demo mode active")).to_be_visible()
    await shows(page, "Latest interactions")
    # The guest watched the job: nothing is unread.
    await expect(page.locator(".bell__count")).to_have_count(0)
    await expect(page.get_by_role("heading", name="Recently finished")).to_have_count(0)
    assert await is_still_the_same(page)
    await page.get_by_role("link", name="Create an account").click()
    await shows(page, "Create your account")
    await visitor.register_here(page)
    await expect(page.get_by_text("You are trying Repruv as a guest.")).to_have_count(0)
