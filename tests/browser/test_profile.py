"""The profile in a browser: the zone of times, and the theme of pages."""

from __future__ import annotations

import re
from typing import Literal

import pytest
from playwright.async_api import Page, expect

from tests.acceptance.users import User
from tests.browser.conftest import NewVisitor

PROFILE, SESSIONS = "/settings/profile", "/settings/sessions"
GROUND = {"light": "rgb(243, 246, 246)", "dark": "rgb(13, 21, 23)"}


async def ground(page: Page) -> str:
    return str(await page.evaluate("getComputedStyle(document.documentElement).backgroundColor"))


async def save(page: Page, *, theme: str, zone: str) -> None:
    await page.goto(PROFILE)
    await page.get_by_label("Time zone").select_option(zone)
    await page.get_by_label(theme, exact=True).check()
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("Profile saved.")).to_be_visible()


@pytest.mark.parametrize(("scheme", "javascript"), [("light", True), ("dark", False)])
async def test_theme_and_zone_of_the_profile_apply_to_every_page(
    new_visitor: NewVisitor, user: User, javascript: bool, scheme: Literal["light", "dark"]
) -> None:
    mina = await new_visitor(java_script_enabled=javascript, color_scheme=scheme, timezone_id="Asia/Tokyo")
    await mina.sign_in_as(user)
    page = await mina.open(PROFILE)
    assert await ground(page) == GROUND[scheme]
    for theme in ("Light", "Dark"):
        await save(page, theme=theme, zone="America/Sao_Paulo")
        assert await ground(page) == GROUND[theme.lower()]
        await page.goto(SESSIONS)
        assert await ground(page) == GROUND[theme.lower()]
    signed_in = page.locator(".device time").nth(1)
    await expect(signed_in).to_have_text(re.compile(r"\d\d:\d\d UTC-03$"))
    utc, local = await signed_in.get_attribute("title") or "", await signed_in.inner_text()
    hour, minute = (int(part) for part in re.findall(r", (\d+):(\d+):", utc)[0])
    assert f", {(hour - 3) % 24:02}:{minute:02} " in local
    await save(page, theme="System", zone="")
    assert await ground(page) == GROUND[scheme]
    await page.goto(SESSIONS)
    await expect(page.locator(".device time").nth(1)).to_have_text(re.compile("JST$" if javascript else "UTC$"))
