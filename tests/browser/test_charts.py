"""The dashboard's charts by mouse, keyboard and finger, and comments that arrive while demo mode is being enabled."""

from __future__ import annotations

import re

from playwright.async_api import Locator, Page, expect

from tests.acceptance.system import System
from tests.acceptance.users import User
from tests.browser.conftest import NewVisitor
from tests.browser.visitor import Visitor, is_still_the_same, mark, shows

DAY = re.compile(r"\d+ \w{3}: [\d,]+ interactions?; 30 days before: [\d,]+")


def days(page: Page, chart: str) -> Locator:
    """Find the days of a chart."""
    return page.get_by_role("group", name=re.compile(chart)).locator(".chart__day")


async def test_a_day_is_read_and_opened_by_mouse_keyboard_and_finger(
    mina: Visitor, user: User, new_visitor: NewVisitor
) -> None:
    await user.enable({"niche": "food", "interaction_count": 400})
    await user.wait_for_status("enabled")
    page = await mina.open("/dashboard")
    tip = page.locator(".chart__tip:visible")
    bars, columns = days(page, "^Interactions"), days(page, "^Shares")
    await bars.nth(3).hover()
    await expect(tip).to_have_text(DAY)
    # The days of both charts lie below each other.
    bar, column = [await chart.nth(3).locator(".chart__hit").bounding_box() for chart in (bars, columns)]
    assert bar and column and (bar["x"], bar["width"]) == (column["x"], column["width"])
    await page.mouse.move(0, 0)
    await expect(tip).to_have_count(0)

    # One stop of the Tab key for each chart; arrow keys move inside.
    await page.get_by_role("link", name="90 days").focus()
    await page.keyboard.press("Tab")
    await expect(bars.last).to_be_focused()
    await page.keyboard.press("ArrowLeft")
    await expect(bars.nth(28)).to_be_focused()
    await expect(tip).to_have_text(await bars.nth(28).get_attribute("aria-label") or "")
    await page.keyboard.press("Escape")
    await expect(tip).to_have_count(0)
    await page.keyboard.press("Home")
    await expect(bars.first).to_be_focused()
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/dashboard?date=*#recent")
    await expect(page.get_by_role("heading", name="Interactions on")).to_be_visible()

    touching = await new_visitor(has_touch=True, viewport={"width": 360, "height": 740})
    await touching.sign_in_as(user)
    phone = await touching.open("/dashboard?days=7")
    day = days(phone, "^Interactions").nth(2)
    await day.tap()
    await expect(phone.locator(".chart__tip:visible")).to_contain_text("7 days before")
    assert phone.url.endswith("?days=7")
    await day.tap()
    await phone.wait_for_url("**/dashboard?days=7&date=*#recent")


async def test_comments_are_seen_arriving_while_demo_mode_is_enabled(system: System, mina: Visitor, user: User) -> None:
    # Open before demo mode is enabled: nothing refreshes it yet.
    page = await mina.open("/dashboard")
    await mark(page)
    await user.enable({"niche": "food", "interaction_count": 20_000})
    arriving = page.get_by_role("region", name="Arriving now")
    await expect(arriving.locator(".inbox__item")).to_have_count(4)
    first = await arriving.inner_text()
    await expect(arriving).not_to_have_text(first, use_inner_text=True)
    async with system.hurried_workers():
        await shows(page, "Interactions per day")
    await expect(arriving).to_have_count(0)
    assert await is_still_the_same(page)
