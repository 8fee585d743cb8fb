"""What a page shows while the stream is cut, silent or blocked. Tests set the page's clock instead of waiting."""

from __future__ import annotations

import datetime
import re

import pytest
from playwright.async_api import Page, Route, expect

from tests.acceptance.users import User
from tests.browser.visitor import SETTINGS, TIMEOUT_MS, Visitor, is_still_the_same, mark, shows

STREAM = re.compile(r"/api/v1/events(\?|$)")
SMALL = {"niche": "food", "content_count": 5, "interaction_count": 100}
# Lets a test end the page's stream, or make it as silent as a connection that died while the computer slept.
HELD_STREAMS = """
window.streams = [];
window.EventSource = class extends EventSource {
  constructor(...all) { super(...all); streams.push(this); }
  addEventListener(type, listener) { super.addEventListener(type, (event) => this.isDead || listener(event)); }
};
"""


async def opened(visitor: Visitor) -> Page:
    """Open a page and wait until it hears its stream."""
    page = await visitor.open(SETTINGS)
    await expect(page.locator("#link-state")).to_have_attribute("data-state", "open", timeout=TIMEOUT_MS)
    await mark(page)
    return page


async def expect_recovery(page: Page, heading: str) -> None:
    """Wait until the page shows the current state and no warning, without a reload."""
    await shows(page, heading)
    await expect(page.locator("#link-state")).to_be_hidden(timeout=TIMEOUT_MS)
    await expect(page.locator("#link-state")).to_have_attribute("data-state", "open", timeout=TIMEOUT_MS)
    assert await is_still_the_same(page)


async def test_offline_page_shows_its_state_and_catches_up(mina: Visitor, user: User) -> None:
    mina.allow_messages("net::ERR_")
    page = await opened(mina)
    await mina.context.set_offline(True)
    await expect(page.locator("#link-state").get_by_text("You are offline.")).to_be_visible(timeout=TIMEOUT_MS)
    await user.enable(SMALL)
    await user.wait_for_status("enabled")
    await mina.context.set_offline(False)
    await expect_recovery(page, "Demo mode active")


async def test_a_lasting_disconnect_is_shown(mina: Visitor, user: User) -> None:
    await mina.context.add_init_script(HELD_STREAMS)
    page = await mina.context.new_page()
    await page.clock.install()
    await page.goto(SETTINGS)
    link = page.locator("#link-state")
    await expect(link).to_have_attribute("data-state", "open", timeout=TIMEOUT_MS)
    await mark(page)

    async def swallow(route: Route) -> None:
        """Neither answer nor refuse, as a proxy does that keeps what it should pass on."""

    await mina.context.route(STREAM, swallow)
    now = int(await page.evaluate("Date.now()"))
    # Later than a busy machine gets there: a clock is not paused in the past.
    await page.clock.pause_at(datetime.datetime.fromtimestamp(now / 1000 + 10, tz=datetime.UTC))
    await page.evaluate("streams.at(-1).dispatchEvent(new Event('error'))")
    await page.clock.run_for(2_400)
    await expect(link).to_be_hidden()
    await page.clock.run_for(200)
    await expect(link.get_by_text("Connection lost. Reconnecting…")).to_be_visible()

    # What kept the stream back lets go.
    await user.enable(SMALL)
    await user.wait_for_status("enabled")
    await page.wait_for_function("streams.length > 1", polling=100)
    await mina.context.unroute(STREAM)
    await page.clock.resume()
    await page.clock.fast_forward(60_000)
    await expect_recovery(page, "Demo mode active")


async def test_a_server_that_hangs_while_a_job_runs_is_noticed(mina: Visitor, user: User) -> None:
    mina.allow_messages("net::ERR_")
    await mina.context.add_init_script(HELD_STREAMS)
    job_id = await user.enable({**SMALL, "interaction_count": 100_000})
    page = await mina.context.new_page()
    await page.clock.install()
    await page.goto(SETTINGS)
    link = page.locator("#link-state")
    await expect(link).to_have_attribute("data-state", "open", timeout=TIMEOUT_MS)
    await page.evaluate("streams.forEach((stream) => (stream.isDead = true))")
    await mina.context.route("**/api/v1/auth/me", lambda route: route.abort())
    await page.clock.fast_forward(6_000)
    await expect(link.get_by_text("Connection lost. Reconnecting…")).to_be_visible(timeout=TIMEOUT_MS)
    await mina.context.unroute("**/api/v1/auth/me")
    await page.clock.fast_forward(6_000)
    await expect(link).to_be_hidden(timeout=TIMEOUT_MS)
    await user.post(f"/jobs/{job_id}/cancel")


async def test_after_a_sleep_a_dead_stream_is_noticed(mina: Visitor, user: User) -> None:
    await mina.context.add_init_script(HELD_STREAMS)
    page = await mina.context.new_page()
    await page.clock.install()
    await page.goto(SETTINGS)
    await expect(page.locator("#link-state")).to_have_attribute("data-state", "open", timeout=TIMEOUT_MS)
    await mark(page)
    await page.evaluate("streams.forEach((stream) => (stream.isDead = true))")
    await user.enable(SMALL)
    await user.wait_for_status("enabled")
    await page.clock.fast_forward(10 * 60 * 1000)
    await expect_recovery(page, "Demo mode active")


@pytest.mark.parametrize("end", ["refused", "cut"])
async def test_where_nothing_streams_the_page_polls_until_something_does(mina: Visitor, user: User, end: str) -> None:
    mina.allow_messages("503")
    mina.allow_messages("net::ERR_")
    await mina.context.add_init_script(
        "Math.random = () => 0.02"
    )  # pauses between attempts are random, up to half a minute

    async def block(route: Route) -> None:
        await (route.fulfill(status=503, body="") if end == "refused" else route.abort())

    await mina.context.route(STREAM, block)
    page = await mina.open(SETTINGS)
    await mark(page)
    await expect(page.locator("#link-state").get_by_text("Live updates paused. Checking every 5 s")).to_be_visible(
        timeout=TIMEOUT_MS
    )
    await user.enable(SMALL)
    await shows(page, "Demo mode active")
    await mina.context.unroute(STREAM)
    await expect_recovery(page, "Demo mode active")
