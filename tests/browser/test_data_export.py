"""Exporting one's data in a browser: start, watch the progress, download."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from playwright.async_api import expect

from tests.acceptance.system import System
from tests.acceptance.users import User
from tests.browser.visitor import Visitor, is_still_the_same, mark, shows


async def test_data_is_exported_and_downloaded(mina: Visitor, user: User, system: System, tmp_path: Path) -> None:
    await user.enable({"niche": "food", "content_count": 5, "interaction_count": 40})
    await user.wait_for_status("enabled")
    page = await mina.open("/settings/profile")
    await page.get_by_role("link", name="Export my data").click()
    await shows(page, "No export yet")
    async with system.paused_kinds("auth.export-data"):
        await page.get_by_role("button", name="Export my data").click()
        await shows(page, "Your data is being exported")
        await mark(page)
    await shows(page, "Your data is ready")
    assert await is_still_the_same(page)
    await expect(page.locator("#announcer")).to_have_text("Your data is ready")
    async with page.expect_download() as download:
        await page.get_by_role("link", name="Download archive").click()
    file = tmp_path / "data.zip"
    await (await download.value).save_as(file)
    assert (await download.value).suggested_filename.startswith("repruv-data-")
    with zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None
        [account] = archive.read("auth/users.jsonl").splitlines()
        assert len(archive.read("demo/interactions.jsonl").splitlines()) == 40
    assert json.loads(account)["email"] == user.email
