"""Pages of jobs change by themselves, in every tab."""

from __future__ import annotations

import re

from playwright.async_api import expect

from tests.acceptance.system import System
from tests.acceptance.users import User
from tests.browser.conftest import NewVisitor
from tests.browser.visitor import SETTINGS, TIMEOUT_MS, Visitor, enable, hide, is_still_the_same, mark, shows

SMALL = {"niche": "food", "content_count": 5, "interaction_count": 400}
LARGE = {"niche": "food", "interaction_count": 100_000}
"""Longer than a busy machine takes for a test, which cancels the job."""


async def test_a_new_job_appears_and_ends_in_both_tabs(system: System, mina: Visitor, user: User) -> None:
    tabs = [await mina.open("/jobs"), await mina.open("/jobs?state=completed")]
    for page in tabs:
        await expect(page.locator("#link-state")).to_have_attribute("data-state", "open")
        await mark(page)
    await expect(tabs[0].get_by_role("heading", name="No jobs yet")).to_be_visible()
    job_id = await user.enable({**SMALL, "interaction_count": 20_000})
    row = tabs[0].locator(f'[data-subject="job:{job_id}"]')
    await expect(row).to_contain_text("Enable demo mode")
    await expect(row.locator("[data-percent]")).to_have_text(re.compile(r"[1-9]\d?%"), timeout=TIMEOUT_MS)
    await expect(tabs[0].locator("#announcer")).to_have_text(re.compile("Enable demo mode: (waiting|running)"))
    async with system.hurried_workers():
        for page in tabs:
            row = page.locator(f'[data-subject="job:{job_id}"]')
            await expect(row.get_by_text("Completed")).to_be_visible(timeout=TIMEOUT_MS)
            await expect(page.get_by_role("link", name="Notifications: 1 unread")).to_be_visible()
            assert await is_still_the_same(page)


async def test_one_job_is_followed_and_cancelled(mina: Visitor, user: User) -> None:
    job_id = await user.enable(LARGE)
    page, list_page = await mina.open(f"/jobs/{job_id}"), await mina.open("/jobs")
    await mark(list_page)
    await expect(page.locator("[data-percent]")).to_have_text(re.compile(r"[1-9]\d?%"))
    await expect(page.locator("[data-eta]")).to_have_text(re.compile("left|done"))
    assert await page.title() != "Enable demo mode · Repruv"
    await expect(page.get_by_text("Attempt 1 started")).to_be_visible()
    await page.locator("summary", has_text="Cancel job").click()
    await page.get_by_role("button", name="Yes, cancel it").click()
    await expect(page.get_by_role("heading", name="Enable demo mode")).to_be_visible()
    await expect(page.get_by_text("Stopped before it finished")).to_be_visible(timeout=TIMEOUT_MS)
    row = list_page.locator(f'[data-subject="job:{job_id}"]')
    await expect(row.get_by_text("Cancelled")).to_be_visible(timeout=TIMEOUT_MS)
    assert await is_still_the_same(list_page)
    # Its owner saw the end: no notification is left.
    await expect(page).to_have_title("Enable demo mode · Repruv")
    await expect(list_page.locator(".bell__count")).to_have_count(0)


async def test_a_hidden_tab_shows_the_result_in_its_title(mina: Visitor, user: User) -> None:
    page = await mina.open("/jobs")
    await expect(page.locator("#link-state")).to_have_attribute("data-state", "open")
    await hide(page, True)
    await user.enable(SMALL)
    await expect(page).to_have_title("✓ Jobs · Repruv", timeout=TIMEOUT_MS)
    await expect(page.locator('link[rel="icon"]')).to_have_attribute("href", re.compile("favicon-unread"))
    await hide(page, False)
    await expect(page).to_have_title("(1) Jobs · Repruv")
    await expect(page.locator('link[rel="icon"]')).to_have_attribute("href", re.compile(r"favicon\.svg"))


async def test_reading_the_latest_notice_elsewhere_marks_no_older_one(mina: Visitor, user: User) -> None:
    await user.enable(SMALL)
    await user.wait_for_status("enabled")
    latest = await user.disable()
    await user.wait_for_status("disabled")
    page = await mina.open("/jobs")
    await expect(page).to_have_title("(2) Jobs · Repruv")
    await expect(page.locator("#link-state")).to_have_attribute("data-state", "open")
    await hide(page, True)
    await user.post(f"/notifications/{latest}/read")
    await expect(page).to_have_title("(1) Jobs · Repruv", timeout=TIMEOUT_MS)


async def test_the_end_of_a_job_of_a_muted_category_leaves_no_mark(mina: Visitor, user: User) -> None:
    await user.http.patch("/api/v1/auth/notification-settings", json={"muted_notices": ["demo_mode"]})
    page = await mina.open("/notifications")
    await expect(page.locator("#link-state")).to_have_attribute("data-state", "open", timeout=TIMEOUT_MS)
    await hide(page, True)
    await user.enable(SMALL)
    await user.wait_for_status("enabled")
    async with page.expect_response(lambda response: "x-fragment" in response.request.headers):
        await user.post("/notifications/read-all")
    await expect(page).to_have_title("Notifications · Repruv")


async def test_notification_read_in_one_browser_is_read_in_all(
    mina: Visitor, new_visitor: NewVisitor, user: User
) -> None:
    phone = await new_visitor()
    await phone.sign_in_as(user)
    await user.enable(SMALL)
    await user.wait_for_status("enabled")
    here, there = await mina.open("/notifications"), await phone.open("/dashboard")
    for page in (here, there):
        await expect(page).to_have_title(re.compile(r"^\(1\) "))
        await expect(page.locator("#link-state")).to_have_attribute("data-state", "open")
        await mark(page)
    await expect(there.get_by_role("heading", name="Recently finished")).to_be_visible()
    await here.get_by_role("button", name="Mark all read").click()
    await expect(here.get_by_role("heading", name="You’re all caught up")).to_be_visible()
    await expect(there.get_by_role("heading", name="Recently finished")).to_have_count(0)
    await expect(there).to_have_title("Dashboard · Repruv")
    await expect(there.locator(".bell__count")).to_have_count(0)
    assert await is_still_the_same(there)


async def test_a_hidden_tab_renders_nothing_until_it_is_visible(mina: Visitor, user: User) -> None:
    page = await mina.open(SETTINGS)
    await expect(page.locator("#link-state")).to_have_attribute("data-state", "open", timeout=TIMEOUT_MS)
    # Headless pages have frames though they believe to be hidden; real ones have none.
    await page.evaluate(
        """() => {
            window.held = [];
            window.real = requestAnimationFrame;
            window.requestAnimationFrame = (draw) => held.push(draw);
        }"""
    )
    await hide(page, True)
    await user.enable(SMALL)
    await expect(page).to_have_title(re.compile("^✓"), timeout=TIMEOUT_MS)
    await user.wait_for_status("enabled")
    await expect(page.get_by_role("heading", name="Demo mode is disabled")).to_be_visible()
    await page.evaluate("() => { window.requestAnimationFrame = real; for (const draw of held) real(draw); }")
    await hide(page, False)
    await shows(page, "Demo mode active")


async def test_the_keyboard_enables_and_cancels(mina: Visitor) -> None:
    page = await mina.open(SETTINGS)
    await page.get_by_label("Interactions").focus()
    await page.keyboard.press("ControlOrMeta+a")
    await page.keyboard.type("100000")
    await page.keyboard.press("Enter")
    await shows(page, "Demo mode is being enabled")
    for _ in range(30):
        await page.keyboard.press("Tab")
        if await page.evaluate("document.activeElement.id") == "action-cancel":
            break
    await page.keyboard.press("Enter")
    await shows(page, "Demo mode is disabled")


async def test_typed_text_survives_an_update(mina: Visitor, user: User) -> None:
    page = await mina.open(SETTINGS)
    await page.get_by_label("Interactions").fill("777")
    other = await mina.open(SETTINGS)
    await enable(other, 100)
    await shows(page, "Demo mode active")
    await user.disable()
    await shows(page, "Demo mode is disabled")
