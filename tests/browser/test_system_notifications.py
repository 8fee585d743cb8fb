"""Notifications of the operating system, which only a complete Chromium can be permitted to show."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser, expect

from tests.acceptance import waiting
from tests.acceptance.users import User
from tests.browser.conftest import NewVisitor
from tests.browser.visitor import hide, shows

SMALL = {"niche": "food", "content_count": 5, "interaction_count": 400}


@pytest.fixture(scope="session")
def browser(complete_browser: Browser) -> Browser:
    """A complete Chromium."""
    return complete_browser


async def test_denied_notification_permission_is_shown(new_visitor: NewVisitor, user: User) -> None:
    visitor = await new_visitor(permissions=[])
    await visitor.sign_in_as(user)
    page = await visitor.open("/notifications")
    await expect(page.get_by_text("blocks notifications from Repruv")).to_be_visible()
    await expect(page.get_by_role("button", name="Turn on notifications")).to_be_hidden()


async def test_notification_permission_is_requested_by_a_button(new_visitor: NewVisitor, user: User) -> None:
    visitor = await new_visitor(permissions=["notifications"])
    await visitor.sign_in_as(user)
    page = await visitor.open("/notifications")
    await expect(page.get_by_text("Get a notification when a job finishes")).to_be_visible()
    assert await page.evaluate("localStorage.length") == 0
    await page.get_by_role("button", name="Turn on notifications").click()
    await expect(page.get_by_text("This browser notifies you when a job finishes")).to_be_visible()
    await page.evaluate(
        """() => {
            const notified = (...all) => (window.notified = all);
            window.Notification = class extends Notification { constructor(...all) { super(...all); notified(...all); } };
        }"""
    )
    await hide(page, True)
    job_id = await user.enable(SMALL)
    tag, words = await waiting.until(
        lambda: page.evaluate("window.notified && [notified[1].tag, notified[1].body]"), "it notifies"
    )
    assert (tag, words) == (job_id, "Enable demo mode: completed")
    await hide(page, False)
    await page.get_by_role("button", name="Turn off notifications").click()
    await expect(page.get_by_role("button", name="Turn on notifications")).to_be_visible()

    await page.get_by_role("button", name="Mark read").click()
    await shows(page, "You’re all caught up")
