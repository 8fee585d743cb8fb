"""The email about a sign-in from a new browser."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.async_api import Page, expect

from tests.acceptance.users import PASSWORD, User
from tests.browser.conftest import NewVisitor
from tests.browser.mail import email_to
from tests.browser.visitor import shows
from tests.mails import emails_to

SUBJECT = "New sign-in to your account"


async def sign_in(page: Page, email: str) -> None:
    await page.goto("/login")
    await page.get_by_label("Email").fill(email)
    await page.get_by_label("Password", exact=True).fill(PASSWORD)
    await page.get_by_role("button", name="Sign in", exact=True).click()
    await shows(page, "Demo mode is disabled")


async def test_new_browser_sends_an_email_that_leads_to_the_sessions(
    new_visitor: NewVisitor, user: User, mails: Path
) -> None:
    mina = await new_visitor(java_script_enabled=False)
    page = await mina.context.new_page()
    await sign_in(page, user.email)
    text = await email_to(mails, user.email, SUBJECT)
    assert "Device: " in text
    assert "IP address: 127.0.0.1" in text
    [path] = re.findall(r"https?://[^/\s]+(/settings/\S+)", text)
    await page.goto(path)
    await expect(page.get_by_role("heading", name="2 sessions")).to_be_visible()
    # The browser keeps its cookie when the user signs out, so it is known next time.
    await page.get_by_role("button", name="Sign out", exact=True).first.click()
    await sign_in(page, user.email)
    await user.post("/auth/email/verification")
    await email_to(mails, user.email, "Verify your email address")
    assert [mail["subject"] for mail in emails_to(mails, user.email)].count(SUBJECT) == 1
