"""What the account pages have in common: passwords that can be shown, one primary button, a way back, icons of devices."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.acceptance.users import PASSWORD, User
from tests.browser.conftest import NewVisitor
from tests.browser.visitor import Visitor, shows

SECURITY = "/settings/security"


async def test_password_is_shown_and_hidden_again_when_it_is_sent(visitor: Visitor) -> None:
    visitor.allow_messages("422")
    page = await visitor.open("/login")
    password = page.get_by_label("Password")
    await page.get_by_label("Email").fill("nobody@example.com")
    await password.fill("not the password")
    await page.get_by_role("button", name="Show password").click()
    await expect(password).to_have_attribute("type", "text")
    await expect(password).to_have_value("not the password")
    await page.get_by_role("button", name="Hide password").press("Enter")
    await expect(password).to_have_attribute("type", "password")
    await page.get_by_role("button", name="Show password").press("Space")
    # The form reports the type of its field as it is sent.
    types: list[str] = []

    def sent(kind: str) -> None:
        types.append(kind)

    await page.expose_function("sent", sent)
    await page.evaluate(
        "addEventListener('submit', () => queueMicrotask(() => window.sent(document.getElementById('password').type)))"
    )
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("alert")).to_be_visible()
    assert types == ["password"]


async def test_each_of_two_passwords_has_its_own_button(mina: Visitor) -> None:
    page = await mina.open(SECURITY)
    await page.get_by_role("button", name="Show new password").click()
    await expect(page.get_by_label("New password")).to_have_attribute("type", "text")
    await expect(page.get_by_label("Current password")).to_have_attribute("type", "password")


async def test_without_javascript_there_is_no_button_that_does_nothing(new_visitor: NewVisitor) -> None:
    page = await (await new_visitor(java_script_enabled=False)).open("/register")
    await expect(page.get_by_label("Password")).to_be_visible()
    await expect(page.get_by_role("button", name="Show password")).to_be_hidden()


@pytest.mark.parametrize("javascript", [True, False])
async def test_security_has_one_primary_button_and_its_pages_lead_back(
    new_visitor: NewVisitor, user: User, javascript: bool
) -> None:
    mina = await new_visitor(java_script_enabled=javascript, viewport={"width": 1280, "height": 900})
    await mina.sign_in_as(user)
    page = await mina.open(SECURITY)
    await expect(page.locator("main .button--primary:visible")).to_have_count(1)
    await page.get_by_role("button", name="Set up authenticator app").click()
    await shows(page, "Set up authenticator app")
    box = await page.locator(".card--narrow").bounding_box()
    assert box is not None
    assert abs(box["x"] - (1280 - box["x"] - box["width"])) < 20
    await page.get_by_role("main").get_by_role("link", name="Security").click()
    await shows(page, "Two-step verification")
    await page.goto(f"/reauthenticate?next={SECURITY}")
    await page.get_by_role("main").get_by_role("link", name="Security").click()
    await shows(page, "Two-step verification")


async def test_sessions_show_what_they_run_on(new_visitor: NewVisitor, user: User) -> None:
    phone = await new_visitor(
        user_agent="Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148 Safari/604.1"
    )
    page = await phone.open("/login")
    await page.get_by_label("Email").fill(user.email)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()
    await shows(page, "Demo mode is disabled")
    await page.goto("/settings/sessions")
    device = page.get_by_role("listitem").filter(has_text="This device")
    await expect(device.locator(".icon--phone")).to_be_visible()
    await expect(page.get_by_role("main").locator(".icon--terminal")).to_be_visible()


async def test_demo_badge_is_on_the_account_pages(mina: Visitor, user: User) -> None:
    await user.enable({"niche": "food", "interaction_count": 10})
    await user.wait_for_status("enabled")
    mina.allow_messages("404")
    page = await mina.context.new_page()
    for path in (SECURITY, "/settings/sessions", "/settings/profile", "/reauthenticate", "/logout", "/nowhere"):
        await page.goto(path)
        await expect(page.locator("#demo-badge")).to_be_visible()
    await user.disable()
    await user.wait_for_status("disabled")
