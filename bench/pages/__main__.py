"""The speed of pages: first byte, paint, layout shift and blocking of each, and interactions while events arrive."""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import time
from collections.abc import Sequence

from playwright.async_api import Browser
from rich.console import Console
from rich.status import Status
from rich.table import Table

from bench import report
from bench.pages import browser_page, first_byte, page_events, users
from bench.pages.users import Page, Users
from bench.samples import percentile
from bench.system import System
from dev import chromium

FIRST_BYTE, FIRST_PAINT, LARGEST_PAINT, SHIFT, INTERACTION = 50.0, 300.0, 500.0, 0.01, 50.0
"""Targets: p95 of first bytes, medians of paints (ms), the score of shifts, p98 of interactions (ms)."""
CONDITIONS = (
    f"ms. First byte: one request at a time, p50 / p95; with a session in the gateway's cache (n = {first_byte.COUNT}) and "
    f"without (n = {first_byte.COLD}). Paint, shift and blocking: medians of loads in Chromium with an empty cache, on the "
    f"system's processors. Targets: first byte p95 < {FIRST_BYTE:.0f}, FCP < {FIRST_PAINT:.0f}, LCP < {LARGEST_PAINT:.0f}, "
    f"CLS < {SHIFT}."
)


def main(arguments: Sequence[str]) -> int:
    """Measure and print. Return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.pages", description=__doc__)
    parser.add_argument("pages", nargs="*", metavar="page", help="only pages whose name has one of these words in it")
    parser.add_argument("--loads", type=int, default=10, help="of each page in the browser")
    args = parser.parse_args(arguments)
    if chromium.executable() is None:
        parser.error(chromium.MISSING)
    with Console(stderr=True).status("starting") as status, users.running_system() as stack:
        tables = asyncio.run(_measure(System(stack), status, args.pages, args.loads))
    console = report.console()
    for table in tables:
        console.print(table)
    console.print(f"load of this machine at the end: {', '.join(f'{load:.1f}' for load in os.getloadavg())}")
    return 0


async def _measure(system: System, status: Status, words: Sequence[str], count: int) -> list[Table]:
    everyone = await users.prepare_users(system)
    pages = [page for page in everyone.pages() if not words or any(word in page.name for word in words)]
    async with chromium.running() as browser:
        await browser_page.loads(browser, system.stack.url, pages[0], 3)  # warm-up of the browser
        answered = await _answers(system, browser, status, everyone)
        loaded = await _loads(system, browser, status, pages, count, await first_byte.more_sessions(system, everyone))
    return [loaded, answered]


async def _loads(
    system: System,
    browser: Browser,
    status: Status,
    pages: Sequence[Page],
    count: int,
    sessions: dict[str, list[str]],
) -> Table:
    table = Table(caption=CONDITIONS, caption_justify="left")
    for name in ("page", "first byte", "… not remembered", "FCP", "LCP", "CLS", "blocked"):
        table.add_column(name, no_wrap=True, justify="left" if name == "page" else "right")
    for page in pages:
        status.update(f"measuring {page.name}, load {os.getloadavg()[0]:.1f}")
        warm = await first_byte.warm(system, page)
        more = page.other_sessions(sessions)
        cold = await first_byte.cold(system, page, more) if more else []
        loads = await browser_page.loads(browser, system.stack.url, page, count)
        median = {
            "FCP": statistics.median(load.first_paint for load in loads),
            "LCP": statistics.median(load.largest_paint for load in loads),
            "CLS": statistics.median(load.shift for load in loads),
        }
        table.add_row(
            page.name,
            _bytes(warm),
            _bytes(cold) if cold else "",
            _judged(median["FCP"], FIRST_PAINT),
            _judged(median["LCP"], LARGEST_PAINT),
            _judged(median["CLS"], SHIFT, digits=3),
            f"{statistics.median(load.blocked for load in loads):.0f}",
        )
    return table


async def _answers(system: System, browser: Browser, status: Status, everyone: Users) -> Table:
    table = Table(
        caption=f"ms, as Chromium reports them: in steps of 8, and none below {browser_page.SHORTEST:.0f}. "
        f"Target: p98 < {INTERACTION:.0f}.",
        caption_justify="left",
    )
    for name in ("keys and clicks while events arrive", "events/s", "counted", "p50", "p98", "max"):
        table.add_column(name, no_wrap=True, justify="right" if table.columns else "left")
    scenes = (
        ("/dashboard", everyone.veteran, browser_page.keys_and_clicks),
        ("/jobs", everyone.veteran, browser_page.keys_and_clicks),
        ("/settings/demo-mode", everyone.newcomer, browser_page.form),
    )
    for path, user, act in scenes:
        status.update(f"typing and clicking on {path}")
        async with page_events.running_jobs(system, user) as events:
            before, began = len(events.frames), time.perf_counter()
            took = await browser_page.interactions(
                browser, system.stack.url, Page(name=path, path=path, cookie=user.cookie), act
            )
            rate = (len(events.frames) - before) / (time.perf_counter() - began)
        ranks = (percentile(took, 50), percentile(took, 98), percentile(took, 100))
        texts = [_judged(value, INTERACTION) if took else f"< {browser_page.SHORTEST:.0f}" for value in ranks]
        table.add_row(path, f"{rate:.0f}", f"{len(took)}", *texts)
    return table


def _bytes(seconds: Sequence[float]) -> str:
    median, tail = percentile(seconds, 50) * 1000, percentile(seconds, 95) * 1000
    return f"{median:.1f} / {_judged(tail, FIRST_BYTE, digits=1)}"


def _judged(value: float, target: float, *, digits: int = 0) -> str:
    return f"[{'green' if value < target else 'red'}]{value:.{digits}f}[/]"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
