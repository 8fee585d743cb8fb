"""The email address is changed in a browser."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.async_api import expect

from tests.acceptance.users import User
from tests.browser.conftest import NewVisitor
from tests.browser.mail import email_to
from tests.browser.visitor import Visitor, shows

SECURITY = "/settings/security"


def link_in(text: str) -> str:
    [path] = re.findall(r"https?://[^/\s]+(/\S+\?token=\S+)", text)
    return str(path)


async def test_address_changes_by_the_link_to_the_new_one_and_the_old_one_is_notified(
    mina: Visitor, user: User, mails: Path
) -> None:
    page = await mina.open(SECURITY)
    new = f"new-{user.email}"
    await page.get_by_text("Change email address").click()
    await page.get_by_label("New email").fill(new)
    await page.get_by_role("button", name="Send link").click()
    await expect(page.get_by_text("We sent a link to the new address.")).to_be_visible()
    await expect(page.get_by_role("button", name="Cancel change")).to_be_visible()
    await email_to(mails, user.email, "Your email address is being changed")
    await page.goto(link_in(await email_to(mails, new, "Confirm your new email address")))
    await shows(page, "Confirm your new email address")
    await page.get_by_role("button", name="Confirm email address").click()
    await expect(page.get_by_text("Email address changed.")).to_be_visible()
    await page.goto(SECURITY)
    await expect(page.get_by_text(new, exact=True)).to_be_visible()
    await expect(page.get_by_text("Verified", exact=True)).to_be_visible()
    await expect(page.get_by_text("Email address changed", exact=True)).to_be_visible()


async def test_old_address_keeps_the_account(new_visitor: NewVisitor, user: User, mails: Path) -> None:
    mina = await new_visitor()
    answer = await user.post("/auth/email/change", json={"email": f"thief-{user.email}"})
    assert answer.status_code == 202
    page = await mina.open(link_in(await email_to(mails, user.email, "Your email address is being changed")))
    await shows(page, "Keep your email address")
    await page.get_by_role("button", name="Keep this address").click()
    await expect(page.get_by_text("all devices are signed out. Set a new password now.")).to_be_visible()
    assert (await user.get("/auth/me")).status_code == 401
