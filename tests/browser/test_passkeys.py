"""Passkeys with the browser's virtual authenticator: add, sign in, list; none at an IP address."""

from __future__ import annotations

from datetime import timedelta

import pytest
from playwright.async_api import Page, expect

from tests.acceptance.system import System
from tests.acceptance.users import PASSWORD, User
from tests.browser.conftest import NewVisitor
from tests.browser.visitor import Visitor, shows

SECURITY = "/settings/security"
AUTHENTICATOR = {
    "protocol": "ctap2",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}
LONG = timedelta(hours=1)
_LONG_AGO = (
    "UPDATE auth.sessions SET authenticated_at = created_at - %s, created_at = created_at - %s WHERE user_id = %s"
)


async def plug_in(page: Page) -> None:
    """Add an authenticator that consents to the page's browser."""
    devtools = await page.context.new_cdp_session(page)
    await devtools.send("WebAuthn.enable")
    await devtools.send("WebAuthn.addVirtualAuthenticator", {"options": AUTHENTICATOR})


async def test_a_passkey_is_added_and_opens_the_account(new_visitor: NewVisitor, user: User, system: System) -> None:
    at_a_name = system.url.replace("127.0.0.1", "localhost")
    async with system.with_settings("auth", PUBLIC_URL=at_a_name):
        mina = await new_visitor()
        mina.allow_site(at_a_name)
        page = await mina.context.new_page()
        await plug_in(page)
        await page.goto(f"{at_a_name}/login?next={SECURITY}")
        await page.get_by_label("Email").fill(user.email)
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_role("button", name="Sign in", exact=True).click()
        await page.get_by_label("Name").fill("Laptop")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("strong").filter(has_text="Laptop")).to_be_visible()
        await expect(page.get_by_text("never used")).to_be_visible()

        await page.get_by_role("button", name="Sign out", exact=True).click()
        await shows(page, "Welcome back")
        await page.get_by_label("Keep me signed in").check()
        await page.get_by_role("button", name="Sign in with a passkey").press("Enter")
        await shows(page, "Demo mode is disabled")
        session_cookies = [cookie for cookie in await mina.context.cookies() if cookie["name"] == "session"]
        assert len(session_cookies) == 1
        assert session_cookies[0]["expires"] > 0

        await system.execute(_LONG_AGO, LONG, LONG, user.user_id)
        await page.goto(f"{at_a_name}{SECURITY}")
        await page.get_by_role("link", name="Remove").click()
        await shows(page, "Confirm it’s you")
        await page.get_by_role("button", name="Use a passkey").click()
        await shows(page, "Security")
        await page.get_by_role("button", name="Remove").click()
        await expect(page.get_by_text("Passkey removed.")).to_be_visible()


@pytest.mark.parametrize("javascript", [True, False])
async def test_page_of_an_ip_address_explains_why_there_are_no_passkeys(
    new_visitor: NewVisitor, user: User, javascript: bool
) -> None:
    visitor: Visitor = await new_visitor(java_script_enabled=javascript)
    await visitor.sign_in_as(user)
    page = await visitor.open(SECURITY)
    await expect(page.get_by_text("Passkeys need https and a domain name")).to_be_visible()
    await expect(page.get_by_role("button", name="Add a passkey")).to_have_count(0)
    # Another user: the first page may open its stream later, and its session must still exist.
    page = await (await new_visitor(java_script_enabled=javascript)).open("/login")
    await shows(page, "Welcome back")
    await expect(page.get_by_role("button", name="Sign in with a passkey")).to_be_hidden()
