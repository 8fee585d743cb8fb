"""Account settings in a browser: sessions, a second factor, and live connections."""

from __future__ import annotations

import re

import pyotp
from playwright.async_api import Page, expect

from tests.acceptance.system import System
from tests.acceptance.users import PASSWORD, User
from tests.browser.conftest import NewVisitor
from tests.browser.visitor import Visitor, shows

SECURITY = "/settings/security"


async def sign_in(page: Page, email: str) -> None:
    await page.goto("/login")
    await page.get_by_label("Email").fill(email)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_label("Keep me signed in").check()
    await page.get_by_role("button", name="Sign in").click()


async def test_a_second_factor_and_the_sign_in_that_asks_for_it(mina: Visitor, user: User) -> None:
    mina.allow_messages("422")
    page = await mina.open(SECURITY)
    await page.get_by_role("button", name="Set up authenticator app").click()
    await shows(page, "Set up authenticator app")
    await expect(page.get_by_role("img", name="QR code")).to_be_visible()
    app = pyotp.TOTP((await page.locator("#totp-secret").inner_text()).replace(" ", ""))
    await page.get_by_label("6-digit code").fill("000000")
    await page.get_by_role("button", name="Turn on").click()
    await expect(page.get_by_role("alert")).to_be_visible()
    await page.get_by_label("6-digit code").fill(app.now())
    await page.get_by_role("button", name="Turn on").click()
    await shows(page, "Your recovery codes")
    codes = (await page.locator("#recovery-codes").inner_text()).split()
    assert len(codes) == 10
    await page.get_by_role("button", name="Sign out").click()

    await sign_in(page, user.email)
    await shows(page, "Enter your code")
    await page.get_by_label("Code").fill(codes[0])
    await page.get_by_role("button", name="Continue").click()
    await page.goto(SECURITY)
    await expect(page.get_by_text("9 recovery codes left")).to_be_visible()
    session_cookies = [cookie for cookie in await mina.context.cookies() if cookie["name"] == "session"]
    assert len(session_cookies) == 1
    assert session_cookies[0]["httpOnly"]
    assert session_cookies[0]["expires"] > 0


async def test_a_session_is_ended_from_another(mina: Visitor, new_visitor: NewVisitor, user: User) -> None:
    thief = await new_visitor()
    thief.allow_messages("401")
    stolen = await thief.context.new_page()
    await sign_in(stolen, user.email)
    await shows(stolen, "Demo mode is disabled")
    page = await mina.open("/settings/sessions")
    await expect(page.get_by_text("2 sessions")).to_be_visible()
    await page.get_by_role("button", name="Sign out all other devices").click()
    await expect(page.get_by_text("All other sessions signed out.")).to_be_visible()
    await expect(page.get_by_text("1 session", exact=True)).to_be_visible()
    # The stream of the other session's page ends.
    await expect(stolen.get_by_text("You have been signed out.").first).to_be_visible()
    await stolen.goto("/dashboard")
    await expect(stolen).to_have_url(re.compile("/login"))


async def test_signing_out_leaves_nothing_behind_the_back_button(mina: Visitor) -> None:
    page = await mina.open("/settings/sessions")
    await page.goto("/settings/demo-mode")
    await page.get_by_role("button", name="Sign out").click()
    await shows(page, "Welcome back")
    await page.go_back()
    await expect(page).to_have_url(re.compile("/login"))


async def test_an_idle_page_detects_that_its_session_has_ended(mina: Visitor, user: User) -> None:
    mina.allow_messages("401")
    page = await mina.open(SECURITY)
    # Not before the stream is open: an earlier revocation shows as its refusal.
    await user.http.post("/api/v1/auth/logout")
    await expect(page.get_by_text("You have been signed out.").first).to_be_visible()
    await expect(page.get_by_role("link", name="Sign in again")).to_be_visible()


async def test_a_page_of_the_back_forward_cache_is_hidden_from_other_users(mina: Visitor, user: User) -> None:
    mina.allow_messages("401")
    page = await mina.open(SECURITY)
    back = "dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))"
    await page.evaluate(back)
    await shows(page, "Security")
    # No stream, so that the page receives no events.
    await page.route("**/api/v1/events*", lambda route: route.abort())
    await user.http.post("/api/v1/auth/logout")
    await page.evaluate(f"{back}; window.wasHidden = document.body.hidden")
    await expect(page).to_have_url(re.compile("/login"))


async def test_something_sensitive_asks_for_the_password_when_the_last_proof_is_old(
    mina: Visitor, user: User, system: System
) -> None:
    mina.allow_messages("422")
    page = await mina.open(SECURITY)
    await system.execute(
        "UPDATE auth.sessions SET created_at = created_at - interval '1 hour',"
        " authenticated_at = authenticated_at - interval '1 hour' WHERE user_id = %s",
        user.user_id,
    )
    await page.get_by_role("button", name="Set up authenticator app").click()
    await expect(page).to_have_url(re.compile("/reauthenticate"))
    await page.get_by_label("Password").fill("not-the-password")
    await page.get_by_role("button", name="Continue").click()
    await expect(page.get_by_role("alert")).to_be_visible()
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Continue").click()
    await expect(page).to_have_url(re.compile(f"{SECURITY}$"))
    await page.get_by_role("button", name="Set up authenticator app").click()
    await shows(page, "Set up authenticator app")
