"""Debian's Chromium, without any network traffic except for the page it opens."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Browser, async_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
SHELL = "chromium-headless-shell"
"""Debian's Chromium without a window. Opens pages at a quarter of the cost; has no permission to notify, and no page cache."""
MISSING = "This needs chromium: apt-get install chromium"
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def executable() -> str | None:
    """Return the path of Chromium, or None."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def shell() -> str | None:
    """Return the path of Chromium without a window where it is installed, otherwise of Chromium."""
    return shutil.which(SHELL) or executable()


@asynccontextmanager
async def running(path: str | None = None) -> AsyncIterator[Browser]:
    """Run Chromium, or the one at `path`, while the context lasts."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path or executable(), args=list(ARGUMENTS))
        yield browser
        await browser.close()
