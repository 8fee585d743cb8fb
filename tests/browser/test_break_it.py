"""*Break it yourself*: parts of the system are killed from a page while a job runs, which continues without a lost row."""

from __future__ import annotations

import re

from playwright.async_api import Page, expect

from dev.launcher.control import Control
from tests.acceptance.system import System
from tests.acceptance.users import User
from tests.browser.conftest import NewVisitor
from tests.browser.visitor import Visitor, heading, is_still_the_same, mark, shows

PATH = "/settings/demo-mode/break"
RESUMED = re.compile(r"resumed after \d+\.\d s")
ROWS = 12_000
"""Twelve seconds, in which the worker and the database are killed on a busy machine too."""


async def kill(page: Page, button: str) -> None:
    """Kill a part, and wait until the page says when the job resumed and that the part runs again."""
    broken = await page.locator(".stopwatches__item").count()
    await page.get_by_role("button", name=button).click()
    await expect(page.locator(".stopwatches__item")).to_have_count(broken + 1)
    await mark(page)
    latest = page.locator(".stopwatches__item").first
    await expect(latest).to_contain_text(RESUMED)
    await expect(latest).to_contain_text("restarted")
    assert await is_still_the_same(page)


async def test_job_resumes_after_its_worker_and_the_database_are_killed(
    mina: Visitor, user: User, system: System, control: Control, new_visitor: NewVisitor
) -> None:
    # The database is away when fragments and streams are asked for.
    mina.allow_messages("503")
    mina.allow_messages("Failed to load resource")
    async with system.controlled_by(control):
        await user.enable({"niche": "food", "interaction_count": ROWS})
        await user.wait_for_interactions(200)
        page = await mina.open(PATH)
        await kill(page, "Kill the worker")
        await user.wait_for_interactions(2_000)
        await kill(page, "Kill PostgreSQL")
        await shows(page, f"{ROWS:,} rows, 0 lost")
    await expect(page.locator("#announcer")).to_have_text("Demo mode is active")

    # Without JavaScript the page says the same.
    plain = await new_visitor(java_script_enabled=False)
    await plain.sign_in_as(user)
    response = await plain.open(PATH)
    await expect(heading(response, f"{ROWS:,} rows, 0 lost")).to_be_visible()
    await expect(response.locator(".stopwatches__item").get_by_text(RESUMED)).to_have_count(2)


async def test_job_is_started_and_broken_without_javascript(
    new_visitor: NewVisitor, user: User, system: System, control: Control
) -> None:
    visitor = await new_visitor(java_script_enabled=False)
    await visitor.sign_in_as(user)
    async with system.controlled_by(control):
        page = await visitor.open(PATH)
        await page.get_by_role("button", name="Start the job").click()
        await expect(heading(page, "Your job is writing 20,000 rows")).to_be_visible()
        await user.wait_for_interactions(100)
        await page.get_by_role("button", name="Stop NATS").click()
        # The page reloads every two seconds.
        await expect(page.locator(".stopwatches__item")).to_contain_text(RESUMED)
    # The work of others cannot be broken, nor what does not run.
    other = await new_visitor(java_script_enabled=False)
    stranger = await User.register(system.url)
    await other.sign_in_as(stranger)
    other_page = await other.open(PATH)
    await expect(heading(other_page, "Start a job to break")).to_be_visible()
    await expect(other_page.locator(".stopwatches__item")).to_have_count(0)
    await stranger.close()
    await user.post(f"/jobs/{(await user.wait_for_status('enabling'))['job_id']}/cancel")
    await user.wait_for_status("disabled")
