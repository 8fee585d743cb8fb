"""API tokens in a browser: created, shown once, used by a program, revoked."""

from __future__ import annotations

import re

import httpx
from playwright.async_api import expect

from tests.acceptance.system import System
from tests.acceptance.users import User
from tests.browser.visitor import Visitor, shows

TOKENS = "/settings/tokens"


async def test_token_is_created_used_and_revoked(mina: Visitor, user: User, system: System) -> None:
    mina.allow_messages("422")
    page = await mina.open("/settings/security")
    await page.get_by_role("link", name="API tokens").first.click()
    await page.get_by_label("Name").fill(" ")
    await page.get_by_label("Expires").select_option("30")
    await page.get_by_text("Read and write", exact=True).click()
    await page.get_by_role("button", name="Create token").click()
    await expect(page.get_by_text("Enter a name")).to_be_visible()
    await expect(page.get_by_label("Expires")).to_have_value("30")
    await expect(page.get_by_role("radio", name="Read and write")).to_be_checked()
    await page.get_by_label("Name").fill("Nightly report")
    await page.get_by_role("button", name="Create token").click()
    await shows(page, "Your new API token")
    token = await page.locator("#api-token").inner_text()
    assert re.fullmatch("rpa_[0-9A-Za-z]{49}", token)
    await expect(page.get_by_role("button", name="Copy")).to_be_visible()
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=system.url, headers=headers, timeout=60.0) as program:
        assert (await program.get("/api/v1/jobs")).status_code == 200
        await page.get_by_role("link", name="I’ve saved it").click()
        listed = page.get_by_role("listitem").filter(has_text="Nightly report")
        await expect(listed).to_contain_text("Last used")
        await expect(listed).not_to_contain_text(token)
        await listed.get_by_role("button", name="Revoke").click()
        await expect(page.get_by_text("API token revoked.")).to_be_visible()
        await expect(page.get_by_text("No tokens yet.")).to_be_visible()
        assert (await program.get("/api/v1/jobs")).status_code == 401
