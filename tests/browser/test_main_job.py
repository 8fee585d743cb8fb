"""The main job in a browser: enable, close the tab, return, see the data, disable."""

from __future__ import annotations

import re
import uuid

from playwright.async_api import Page, expect

from tests.acceptance.system import System
from tests.acceptance.users import User
from tests.browser.visitor import SETTINGS, Visitor, enable, is_still_the_same, mark, pulses, shows, tint

LARGE = 20_000
"""Longer than a busy machine takes to look at the middle of the job; then the worker is replaced by one without pauses."""


async def percent(page: Page) -> int:
    text = await page.locator("[data-percent]").inner_text()
    return int(text.removesuffix("%") or 0)


async def test_enable_continues_while_the_page_is_closed(system: System, visitor: Visitor) -> None:
    page = await visitor.open("/")
    await visitor.register(page)
    await enable(page, LARGE)

    await shows(page, "Demo mode is being enabled")
    pill = page.get_by_text("Enabling", exact=True)
    assert await tint(pill) == "yellow"
    await page.emulate_media(reduced_motion="no-preference")
    assert await pulses(pill)
    await page.emulate_media(reduced_motion="reduce")
    job_id = await page.locator("#job-id").inner_text()
    assert uuid.UUID(job_id).version == 7

    await mark(page)
    await expect(page.locator("[data-percent]")).to_have_text(re.compile(r"\d+%"))
    first_percent = await percent(page)
    await expect(page.locator("[data-percent]")).not_to_have_text(f"{first_percent}%")
    assert await percent(page) > first_percent
    assert await page.locator("progress").evaluate("bar => bar.value") >= first_percent
    assert await is_still_the_same(page)
    await page.close()

    page = await visitor.open(SETTINGS)
    await shows(page, "Demo mode is being enabled")
    assert await page.locator("#job-id").inner_text() == job_id
    await mark(page)
    async with system.hurried_workers():
        await shows(page, "Demo mode active")
    await expect(page.get_by_text("Demo mode is enabled.")).to_be_visible()
    await expect(page.locator("#announcer")).to_have_text("Demo mode is active")
    await expect(page.locator("#demo-badge")).to_be_visible()
    assert await is_still_the_same(page)

    await page.get_by_role("link", name="Open the dashboard").first.click()
    await expect(page.locator(".inbox__item")).to_have_count(8)
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_text("You're signed out.")).to_be_visible()


async def test_the_dashboard_updates_without_reload(system: System, mina: Visitor, user: User) -> None:
    page = await mina.open("/dashboard")
    await shows(page, "No comments or reviews yet")
    await mark(page)
    await user.enable({"niche": "travel", "interaction_count": LARGE})

    await shows(page, "Demo Mode Setting Up")
    assert await tint(page.locator(".banner")) == "yellow"
    await expect(page.locator("[data-percent]")).to_have_text(re.compile(r"[1-9]\d*%"))
    async with system.hurried_workers():
        await shows(page, "Demo mode active")
    assert await tint(page.locator(".banner")) == "purple"
    await expect(page.get_by_role("link", name="20K interactions")).to_be_visible()
    await shows(page, "Latest interactions")
    assert await is_still_the_same(page)

    await page.get_by_role("link", name="Manage Demo").click()
    await page.wait_for_url(f"**{SETTINGS}")
    await shows(page, "Demo mode active")


async def test_disable_asks_for_confirmation_and_shows_the_removed_counts(
    system: System, mina: Visitor, user: User
) -> None:
    await user.enable({"niche": "food", "content_count": 12, "interaction_count": 1_600})
    await user.wait_for_status("enabled")
    page = await mina.open(SETTINGS)
    dialog = page.get_by_role("dialog")

    await page.get_by_role("link", name="Disable demo mode").click()
    await expect(dialog).to_contain_text("This removes 1,600 interactions and 12 content items")
    await dialog.get_by_role("button", name="Keep demo mode").click()
    await expect(dialog).to_be_hidden()
    await expect(page.get_by_role("link", name="Disable demo mode")).to_be_focused()

    await page.get_by_role("link", name="Disable demo mode").click()
    async with system.paused_kinds("demo.disable"):
        await dialog.get_by_role("button", name="Yes, disable it").click()
        await shows(page, "Demo mode is being disabled")
        await mark(page)
    await shows(page, "Demo mode is disabled")
    await expect(page.get_by_text("1,600 interactions, 12 content items", exact=False).first).to_be_visible()
    assert await is_still_the_same(page)


async def test_a_mistake_in_the_form_is_found_and_corrected(visitor: Visitor) -> None:
    visitor.allow_messages("422")
    page = await visitor.open("/register")
    await visitor.register(page)
    await page.evaluate("document.querySelector('.card form').noValidate = true")
    await enable(page, 1_000_000)
    await expect(page.get_by_role("alert")).to_be_focused()
    await page.get_by_role("alert").get_by_role("link", name="Interactions").click()
    field = page.get_by_label("Interactions")
    await expect(field).to_be_focused()
    await expect(field).to_have_value("1000000")
    await expect(field).to_have_accessible_description("0 to 100,000 Enter a number from 0 to 100,000.")
    await expect(page.get_by_label("Niche")).to_have_value("food")

    await enable(page, 50)
    await shows(page, "Demo mode active")
    await expect(page.get_by_text("50 interactions and 60 content items are ready.")).to_be_visible()


async def test_a_cancelled_enable_says_so(mina: Visitor, user: User) -> None:
    await user.enable({"niche": "food", "interaction_count": 100_000})
    await user.wait_for_interactions(100)
    page, other = await mina.open(SETTINGS), await mina.open(SETTINGS)
    await page.get_by_role("button", name="Cancel").click()
    for tab in (page, other):
        await shows(tab, "Demo mode is disabled")
        await expect(tab.get_by_text("Enabling demo mode was cancelled.").first).to_be_visible()
        await expect(tab.get_by_label("Niche")).to_be_visible()
