"""Exporting reviews in a browser: start, watch the progress, download."""

from __future__ import annotations

import csv
import re
from pathlib import Path

from playwright.async_api import expect

from tests.acceptance.users import User
from tests.browser.visitor import Visitor, is_still_the_same, mark, shows

ROWS = 6_000
"""Six seconds: longer than a busy machine takes to look at the middle of the job."""


async def test_export_watch_and_download(mina: Visitor, user: User, tmp_path: Path) -> None:
    page = await mina.open("/settings/exports")
    await shows(page, "No export yet")
    await expect(page.get_by_text("Nothing to export")).to_be_visible()
    await mark(page)
    await user.enable({"niche": "food", "content_count": 12, "interaction_count": ROWS})
    start = page.get_by_role("button", name="Export my reviews")
    await expect(start).to_be_visible()
    assert await is_still_the_same(page)

    await start.click()
    await shows(page, "Your reviews are being exported")
    await mark(page)
    await expect(page.locator("[data-percent]")).to_have_text(re.compile(r"[1-9]\d*%"))
    await shows(page, "Your export is ready")
    await expect(page.get_by_text(f"{ROWS:,} rows")).to_be_visible()
    await expect(page.locator("#announcer")).to_have_text("Your export is ready")
    assert await is_still_the_same(page)

    async with page.expect_download() as download:
        await page.get_by_role("link", name="Download CSV").click()
    file = tmp_path / "reviews.csv"
    await (await download.value).save_as(file)
    assert (await download.value).suggested_filename.startswith("repruv-reviews-")
    with file.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    interactions = (await user.get("/interactions", params={"page_size": 100})).json()["interactions"]
    assert len(rows) == ROWS
    assert {item["text"] for item in interactions} <= {row["text"].removeprefix("'") for row in rows}
