"""`make screenshots`: takes the pictures of README and docs from the running system, as a new user and its administrator."""

from __future__ import annotations

import asyncio
import os
import pathlib
import re
import sys

from playwright.async_api import Page, expect

from dev import chromium
from tests.acceptance.users import User

HERE = pathlib.Path(__file__).parent
IMAGES = HERE.parents[1] / "docs" / "images"
URL = f"http://127.0.0.1:{os.environ.get('GATEWAY_PORT', '8080')}"
OPTIONS = {"profile_type": "local_business", "niche": "food", "content_count": 60}
DESK, PHONE = {"width": 1180, "height": 800}, {"width": 360, "height": 740}
PATIENCE_SECONDS = 120.0


async def main() -> None:
    """Take them; `DEMO_BATCH_PAUSE_MS=40 make up` gives the one of the progress time enough.

    ADMIN_EMAIL and ADMIN_PASSWORD are those of `make up`.
    """
    try:
        email, password = os.environ["ADMIN_EMAIL"], os.environ["ADMIN_PASSWORD"]
    except KeyError as error:
        sys.exit(f"Set {error.args[0]} as for the running `make up`.")
    admin = User(URL, email=email)
    signed_in = await admin.post("/auth/login", json={"email": email, "password": password})
    assert signed_in.status_code == 200, signed_in.text
    user = await User.register(URL)
    async with chromium.running() as browser:

        async def open_page(path: str, size: dict[str, int], scheme: str, reader: User = user) -> Page:
            context = await browser.new_context(
                base_url=URL,
                viewport=size,  # type: ignore[arg-type]
                color_scheme=scheme,  # type: ignore[arg-type]
                reduced_motion="reduce",
            )
            await context.add_cookies([{"name": "session", "value": reader.http.cookies["session"], "url": URL}])
            page = await context.new_page()
            await page.goto(path)
            return page

        page = await open_page("/settings/demo-mode", {**DESK, "height": 520}, "light")
        job_id = await user.enable({**OPTIONS, "interaction_count": 20_000})
        await expect(page.locator("[data-percent]")).to_have_text(re.compile(r"[3-9]\d%"), timeout=60_000)
        await page.screenshot(path=IMAGES / "enabling.png")
        page = await open_page("/settings/demo-mode/break", {**DESK, "height": 740}, "light")
        await page.get_by_role("button", name="Kill the worker").click()
        await expect(page.locator(".stopwatches__time strong")).to_be_visible(timeout=60_000)
        await page.screenshot(path=IMAGES / "break-it.png")
        await user.wait_for_status("enabled", seconds=PATIENCE_SECONDS)
        for name, path, size, scheme in (
            ("job", f"/jobs/{job_id}", {**DESK, "height": 720}, "dark"),
            ("dashboard", "/dashboard", {**DESK, "height": 1_040}, "light"),
            ("mobile-dark", "/dashboard", {**PHONE, "height": 1_240}, "dark"),
        ):
            await (await open_page(path, size, scheme)).screenshot(path=IMAGES / f"{name}.png")
            if name == "job":
                await user.post("/notifications/read-all")
        page = await open_page("/admin", {**DESK, "height": 860}, "light", admin)
        await page.screenshot(path=IMAGES / "admin.png")
    await user.close()
    await admin.close()


if __name__ == "__main__":
    asyncio.run(main())
