"""Pages in Chromium: the metrics of each load, and the latency of interactions while events arrive."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.async_api import Browser
from playwright.async_api import Page as Tab

from bench.pages.users import Page

WATCHING = Path(__file__).parent / "observe.js"
SETTLE_MS = 400
"""Time after the load event for late shifts and tasks."""
INTERACTIONS = 20
SHORTEST = 16.0
"""The shortest interaction that Chromium reports, in milliseconds. It reports steps of eight."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """One load of a page with empty caches; times in milliseconds."""

    first_paint: float
    largest_paint: float
    shift: float
    blocked: float
    """The sum of tasks of more than 50 ms."""


async def loads(browser: Browser, url: str, page: Page, count: int) -> list[Load]:
    """Open a page `count` times, each time in a new browser context."""
    return [await _load(browser, url, page) for _ in range(count)]


async def interactions(browser: Browser, url: str, page: Page, act: Callable[[Tab], Awaitable[None]]) -> list[float]:
    """Act `INTERACTIONS` times on a page. Return the milliseconds until the browser painted each response."""
    async with _tab(browser, url, page) as tab:
        for _ in range(INTERACTIONS):
            await act(tab)
        await tab.wait_for_timeout(SETTLE_MS)
        measured = (await _read_metrics(tab))["interactions"]
    return list(measured.values())


async def keys_and_clicks(tab: Tab) -> None:
    """Press Tab and click on a heading."""
    await tab.keyboard.press("Tab")
    await tab.locator("h1").click()


async def form(tab: Tab) -> None:
    """Fill in the form of demo mode."""
    for label in ("Brand", "Local business"):
        await tab.get_by_text(label).first.click()
    await tab.get_by_label("Interactions").press("End")
    await tab.keyboard.type("12")
    await tab.keyboard.press("Backspace")
    await tab.keyboard.press("Backspace")


async def _load(browser: Browser, url: str, page: Page) -> Load:
    async with _tab(browser, url, page) as tab:
        await tab.wait_for_timeout(SETTLE_MS)
        measured = await _read_metrics(tab)
    return Load(
        first_paint=measured["first"],
        largest_paint=measured["lcp"],
        shift=measured["cls"],
        blocked=float(sum(measured["long"])),
    )


async def _read_metrics(tab: Tab) -> Mapping[str, Any]:
    first = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? NaN"
    values: dict[str, Any] = await tab.evaluate(f"({{ ...window.seen, first: {first} }})")
    return values


@asynccontextmanager
async def _tab(browser: Browser, url: str, page: Page) -> AsyncIterator[Tab]:
    context = await browser.new_context(base_url=url)
    try:
        for cookie in filter(None, page.cookie.split("; ")):
            name, _, value = cookie.partition("=")
            await context.add_cookies([{"name": name, "value": value, "url": url}])
        await context.add_init_script(path=WATCHING)
        tab = await context.new_page()
        await tab.goto(page.path, wait_until="load")
        yield tab
    finally:
        await context.close()
