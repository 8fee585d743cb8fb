"""Deletion of an account in a browser: requested, cancelled, and erased in every service."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, expect

from dev import fake_provider
from tests.acceptance import waiting
from tests.acceptance.mentions import tables_that_mention
from tests.acceptance.system import System
from tests.acceptance.users import PASSWORD, User
from tests.browser.conftest import NewVisitor
from tests.browser.test_connections import CONNECTIONS, card, consent
from tests.browser.visitor import TIMEOUT_MS, Visitor

DELETION = "/settings/delete-account"
ERASED_SECONDS = 180.0
# Signed identities live five minutes. Instead of waiting for their end, the test moves it into the past.
LONG_AGO = "UPDATE auth.users SET erasure_started_at = now() - interval '1 hour' WHERE user_id = %s"
RUN_NOW = "UPDATE jobs.jobs SET run_at = now() WHERE kind = 'auth.erase' AND finished_at IS NULL"
IS_CLOSED = "SELECT FROM auth.users WHERE user_id = %s AND erasure_started_at IS NOT NULL"
IS_SNOOZED = "SELECT FROM jobs.jobs WHERE kind = 'auth.erase' AND state IN ('scheduled', 'retrying')"
ACCOUNT = "SELECT FROM auth.users WHERE user_id = %s"


async def request(page: Page, email: str) -> None:
    await page.get_by_label("Email", exact=True).fill(email)
    await page.get_by_role("button", name="Delete my account").click()


@pytest.mark.parametrize("javascript", [True, False])
async def test_deletion_is_confirmed_shown_on_every_page_and_cancelled(
    new_visitor: NewVisitor, user: User, javascript: bool
) -> None:
    other = await user.sign_in_again()
    mina = await new_visitor(java_script_enabled=javascript)
    mina.allow_messages("422")
    await mina.sign_in_as(user)
    page = await mina.open("/settings/profile")
    await page.get_by_role("link", name="Delete account").click()
    await request(page, "somebody-else@example.com")
    await expect(page.get_by_text("Enter the email address of this account.")).to_be_visible()
    assert (await other.get("/auth/me")).status_code == 200
    await request(page, user.email)
    await expect(page.get_by_text("Until then you can use it as before.")).to_be_visible()

    async def is_signed_out() -> bool:
        return (await other.get("/auth/me")).status_code == 401

    await waiting.until(is_signed_out, "other sessions have ended")
    await other.close()
    await page.goto("/dashboard")
    await expect(page.get_by_text("Your account will be deleted after")).to_be_visible()
    await page.get_by_role("button", name="Keep my account").click()
    await expect(page.get_by_text("Your account will not be deleted.")).to_be_visible()
    await expect(page.get_by_text("Your account will be deleted after")).to_be_hidden()
    await page.goto(DELETION)
    await expect(page.get_by_role("button", name="Delete my account")).to_be_visible()


async def test_deleted_account_leaves_nothing_in_any_table(
    new_visitor: NewVisitor, user: User, mina: Visitor, platforms: dict[str, str], system: System
) -> None:
    # Someone with a bit of everything: a connected platform, demo data, an export, failed sign-ins, a request for a password.
    mina.allow_site(platforms[f"PLATFORM_{fake_provider.NAME.upper()}_ISSUER"])
    page = await mina.open(CONNECTIONS)
    await consent(page, "Allow", name=user.email)
    await expect(card(page)).to_contain_text("Connected", timeout=TIMEOUT_MS)
    await page.close()
    await user.enable({"content_count": 12, "interaction_count": 300})
    await user.wait_for_status("enabled")
    assert (await user.post("/exports")).status_code == 202
    wrong = {"email": user.email, "password": "not the password"}
    assert (await user.post("/auth/login", json=wrong)).status_code == 401
    assert (await user.post("/auth/password/forgot", json={"email": user.email})).status_code == 202
    again = {"email": user.email, "password": PASSWORD, "name": ""}
    assert (await user.post("/auth/register", json=again)).status_code == 409
    mentioning = await tables_that_mention(system, user.user_id, user.email)
    assert mentioning >= {
        *("auth.users", "auth.sessions", "auth.security_events", "auth.login_failures", "auth.connections"),
        *("auth.connection_secrets", "demo.demo_modes", "demo.content", "demo.interactions"),
        *("demo.exports", "jobs.jobs", "jobs.job_events", "jobs.owners"),
    }

    # An admin deletes the account, without a grace period.
    admin = await User.register(system.url)
    await system.execute("UPDATE auth.users SET role = 'admin' WHERE user_id = %s", admin.user_id)
    signed_in = await admin.sign_in_again()
    visitor = await new_visitor()
    await visitor.sign_in_as(signed_in)
    page = await visitor.open(f"/admin/users/{user.user_id}")
    await page.get_by_role("link", name="Delete…").click()
    await page.get_by_role("button", name="Delete account").click()
    await expect(page.get_by_text("Deleted after")).to_be_visible()
    await page.goto("/admin/users?deleting=yes")
    await page.get_by_role("link", name=user.email).click()
    await page.get_by_role("link", name="Delete now…").click()
    await page.get_by_role("button", name="Delete account now").click()

    async def is_closed() -> bool:
        return bool(await system.query(IS_CLOSED, user.user_id)) and bool(await system.query(IS_SNOOZED))

    await waiting.until(is_closed, "the account is closed")

    async def is_signed_out() -> bool:
        return (await user.get("/auth/me")).status_code == 401

    await waiting.until(is_signed_out, "the gateway knows that the session has ended")
    await page.goto(f"/admin/users/{user.user_id}")
    await page.get_by_role("button", name="Enable").click()
    await expect(page.get_by_text("It can no longer be changed.")).to_be_visible()
    await system.execute(LONG_AGO, user.user_id)

    async def is_erased() -> bool:
        await system.execute(RUN_NOW)
        return not await system.query(ACCOUNT, user.user_id)

    await waiting.until(is_erased, "the account is erased", seconds=ERASED_SECONDS)
    assert await tables_that_mention(system, user.user_id, user.email) == set()
    await signed_in.close()
    await admin.close()
