"""Several tabs of one user: one stream for all of them, also when the tab that holds it closes, freezes or crashes."""

from __future__ import annotations

import itertools
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Browser, BrowserContext, Page, Route

from tests.acceptance import waiting
from tests.acceptance.streams import Stream
from tests.acceptance.system import System
from tests.acceptance.users import User
from tests.browser.visitor import TIMEOUT_MS

PATH = "/tabs-under-test"
OPTIONS = {"niche": "food", "interaction_count": 300}
# A page that records what its watch receives. The test serves it, so that it covers the module alone.
PAGE = """<!doctype html><title>Tab</title><meta name="repruv-user" content="{user_id}">
<script type="module">
  import {{ watchEvents }} from '/static/repruv.js';
  window.received = {{ jobs: [], demo: '', states: [], resets: 0, restored: 0 }};
  window.watched = watchEvents(
    {{
      job: (job) => received.jobs.push([job.job_id, job.status]),
      demo: (demo) => (received.demo = demo.status),
      state: (state) => received.states.push(state),
      reset: () => received.resets++,
    }},
    {{ lastEventId: '{cursor}', background: 'all' }},
  );
  addEventListener('pageshow', (event) => event.persisted && received.restored++);
</script>"""


class Tabs:
    """Tabs of one user's browser, and a reader of the stream to compare them with."""

    def __init__(self, context: BrowserContext, user: User, stream: Stream) -> None:
        self.user = user
        self.stream = stream
        self._context = context

    async def open(self) -> Page:
        """Open one, and wait until it hears the stream."""
        page = await self._context.new_page()
        await page.goto(PATH)
        await page.wait_for_function("window.watched?.state === 'open'")
        return page

    async def hear_all(self, *pages: Page) -> None:
        """Wait until each page has received everything; all have received the same as the reader."""
        expected = _moves([(event.data["job_id"], event.data["status"]) for event in self.stream.numbered])
        last = str(self.stream.numbered[-1].id)
        for page in pages:
            await page.wait_for_function("last => watched.lastEventId === last", arg=last)
            received = await page.evaluate("received")
            assert _moves([(job_id, status) for job_id, status in received["jobs"]]) == expected
            assert received["resets"] == 0
            assert set(received["states"]) <= {"connecting", "open"}

    async def enable(self) -> str:
        """Have demo mode enabled; gives the job's id."""
        job_id = await self.user.enable(OPTIONS)
        await self.stream.tells_end(job_id, "completed")
        await self.user.wait_for_status("enabled")
        return job_id

    async def disable(self) -> None:
        """Have demo mode disabled."""
        await self.stream.tells_end(await self.user.disable(), "completed")
        await self.user.wait_for_status("disabled")

    async def streams(self, count: int) -> None:
        """Wait until the gateway holds `count` streams beside the reader's."""

        async def probe() -> bool:
            metrics = (await self.user.http.get("/metrics")).text
            match = re.search(r"^stream_connections ([\d.]+)", metrics, re.MULTILINE)
            return match is not None and float(match[1]) == count + 1

        await waiting.until(probe, f"{count} streams are open")


def _moves(frames: list[tuple[str, str]]) -> dict[str, list[str]]:
    jobs: dict[str, list[str]] = {}
    for job_id, status in frames:
        jobs.setdefault(job_id, []).append(status)
    return {job_id: [status for status, _ in itertools.groupby(all_)] for job_id, all_ in jobs.items()}


@asynccontextmanager
async def tabs_of(browser: Browser, system: System, user: User) -> AsyncIterator[Tabs]:
    """The tabs of a user in a browser."""
    context = await browser.new_context(base_url=system.url)
    context.set_default_timeout(TIMEOUT_MS)
    await context.add_cookies([{"name": "session", "value": user.http.cookies["session"], "url": system.url}])
    async with Stream(user) as stream:
        cursor = next(event.id for event in stream.events if event.name == "hello")

        async def serve(route: Route) -> None:
            await route.fulfill(content_type="text/html", body=PAGE.format(user_id=user.user_id, cursor=cursor))

        await context.route(f"**{PATH}", serve)
        yield Tabs(context, user, stream)
        await context.close()


@pytest.fixture
async def tabs(browser: Browser, system: System, user: User) -> AsyncIterator[Tabs]:
    """The user's browser."""
    async with tabs_of(browser, system, user) as tabs:
        yield tabs


@pytest.fixture
async def remembering_tabs(complete_browser: Browser, system: System, user: User) -> AsyncIterator[Tabs]:
    """The user's browser, which has a back-forward cache."""
    async with tabs_of(complete_browser, system, user) as tabs:
        yield tabs


async def test_three_tabs_have_one_stream_and_are_in_step(tabs: Tabs) -> None:
    three = [await tabs.open() for _ in range(3)]
    await tabs.streams(1)
    await tabs.enable()
    await tabs.disable()
    await tabs.hear_all(*three)
    for page in three:
        await page.wait_for_function("received.demo === 'disabled'")
    late = await tabs.open()
    await tabs.hear_all(late)
    await tabs.streams(1)


@pytest.mark.parametrize("end", ["closed", "crashed", "frozen"])
async def test_when_the_leader_goes_the_others_miss_nothing(tabs: Tabs, end: str) -> None:
    leader, second, third = [await tabs.open() for _ in range(3)]
    job_id = await tabs.user.enable({"niche": "food", "interaction_count": 1_500})
    await tabs.user.wait_for_job(job_id, "running")
    session = await leader.context.new_cdp_session(leader)
    if end == "closed":
        await leader.close()
    elif end == "crashed":
        leader.on("crash", lambda _: None)
        await session.send("Page.enable")
        with pytest.raises(Exception, match="crash"):
            await leader.goto("chrome://crash")
    else:
        await session.send("Page.setWebLifecycleState", {"state": "frozen"})
    await tabs.stream.tells_end(job_id, "completed")
    await tabs.user.wait_for_status("enabled")
    await tabs.hear_all(second, third)
    await tabs.streams(1)
    if end == "frozen":
        await session.send("Page.setWebLifecycleState", {"state": "active"})
        await tabs.disable()
        await tabs.hear_all(leader, second, third)
        await tabs.streams(1)


async def test_signing_out_in_one_tab_ends_all(tabs: Tabs) -> None:
    three = [await tabs.open() for _ in range(3)]
    await three[1].evaluate("fetch('/api/v1/auth/logout', { method: 'POST' })")
    for page in three:
        await page.wait_for_function("received.states.at(-1) === 'signed-out' && watched.state === 'closed'")


async def test_a_tab_restored_from_the_back_forward_cache_gets_missed_events(remembering_tabs: Tabs) -> None:
    tabs = remembering_tabs
    first, second = await tabs.open(), await tabs.open()
    await first.goto("/healthz")
    await tabs.enable()
    await tabs.hear_all(second)
    await tabs.streams(1)
    await first.go_back(wait_until="commit")
    await first.wait_for_function("received.restored === 1 && watched.state === 'open'")
    await tabs.disable()
    await tabs.hear_all(first, second)
    await tabs.streams(1)
