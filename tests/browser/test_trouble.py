"""What an open page shows when something goes wrong."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from playwright.async_api import expect

from tests.acceptance.system import System
from tests.acceptance.users import User
from tests.browser.conftest import NewVisitor
from tests.browser.visitor import SETTINGS, TIMEOUT_MS, Visitor, enable, is_still_the_same, mark, shows, tint


@asynccontextmanager
async def cutting_off_answers() -> AsyncIterator[str]:
    """Serve pages whose connection breaks in the middle. Yield their address."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 1000\r\n\r\n<!doctype html>")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


async def test_a_failure_is_red_and_can_be_retried_or_dismissed(
    system: System, mina: Visitor, new_visitor: NewVisitor
) -> None:
    settings, dashboard = await mina.open(SETTINGS), await mina.open("/dashboard")
    await mark(dashboard)
    follower, dismisser = await User.register(system.url), await User.register(system.url)
    followers = await new_visitor()
    await followers.sign_in_as(follower)
    async with system.workers(DEMO_FAIL_HANDLERS="enable"):
        async with system.paused_kinds("demo.enable"):
            job = await followers.open(f"/jobs/{await follower.enable()}")
            await expect(job.locator("#link-state")).to_have_attribute("data-state", "open")
        await mark(job)
        await dismisser.enable()
        await enable(settings, 300)
        await shows(dashboard, "Enabling demo mode failed")
        assert await tint(dashboard.locator(".banner")) == "red"
        assert await is_still_the_same(dashboard)
        await shows(settings, "Enabling demo mode failed")
        await expect(settings.locator(".card__error")).to_contain_text("This job failed on purpose")
        await expect(job.locator(".card__error")).to_contain_text("This job failed on purpose")
        await expect(job.locator("#announcer")).to_have_text(re.compile("Enable demo mode: failed"))
        assert await is_still_the_same(job)
        await dismisser.wait_for_status("failed")
    await dashboard.get_by_role("button", name="Retry").click()
    await shows(dashboard, "Demo mode active")
    await dashboard.wait_for_url("**/dashboard")
    await shows(settings, "Demo mode active")

    await job.get_by_role("button", name="Retry").click()
    await expect(job.get_by_text("Finished in")).to_be_visible()
    await expect(job.get_by_text("Retry requested")).to_be_visible()
    await job.close()

    await followers.sign_in_as(dismisser)
    page = await followers.open(SETTINGS)
    await page.get_by_role("button", name="Dismiss").click()
    await shows(page, "Demo mode is disabled")
    await expect(page.get_by_text("Failure dismissed.")).to_be_visible()
    await enable(page, 100)
    await shows(page, "Demo mode active")
    for other in (follower, dismisser):
        await other.close()


async def test_a_form_whose_sending_was_stopped_can_be_sent_again(mina: Visitor) -> None:
    mina.allow_messages("net::ERR_")
    page = await mina.context.new_page()
    await page.clock.install()
    await page.goto(SETTINGS)
    # The browser's stop button: the page stays, and no answer comes.
    await page.route("**/settings/demo-mode/enable", lambda route: route.abort("aborted"), times=1)
    button = page.locator("main form .button--primary")
    await button.click(no_wait_after=True)
    await expect(button).to_have_attribute("aria-disabled", "true")
    await page.clock.fast_forward(20_000)
    await expect(button).to_have_text("Enable demo mode")
    await button.click()
    await shows(page, "Demo mode active")


async def test_the_page_resumes_when_the_gateway_is_back(system: System, mina: Visitor) -> None:
    # The browser itself logs each request that a killed gateway leaves unanswered, or a starting one cannot answer yet.
    mina.allow_messages("net::ERR_")
    mina.allow_messages("503")
    page = await mina.open(SETTINGS)
    await enable(page, 6_000)
    await shows(page, "Demo mode is being enabled")
    await mark(page)
    await system.kill("gateway")
    try:
        await expect(page.locator("#link-state")).to_be_visible()
    finally:
        await system.start("gateway")
    await shows(page, "Demo mode active")
    await expect(page.locator("#link-state")).to_be_hidden(timeout=TIMEOUT_MS)
    assert await is_still_the_same(page)


async def test_a_session_that_ends_elsewhere_ends_here(mina: Visitor, user: User) -> None:
    mina.allow_messages("401")
    page = await mina.open("/dashboard")
    await page.wait_for_function("performance.getEntriesByType('resource').length > 0")
    await expect(page.locator("#link-state")).to_have_attribute("data-state", "open")
    other = await user.sign_in_again()
    assert (await other.post("/auth/sessions/revoke-all", json={"keep_current": True})).status_code == 204
    await other.close()
    await expect(page.locator("#link-state").get_by_text("You have been signed out.")).to_be_visible()
    await expect(page.get_by_role("heading", name="Dashboard")).to_be_hidden()

    await page.get_by_role("link", name="Sign in again").click()
    await expect(page.get_by_text("Your session has ended. Sign in again.")).to_be_visible()
    await page.get_by_label("Email").fill(user.email)
    await page.get_by_label("Password").fill("not the password")
    mina.allow_messages("422")
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("alert")).to_contain_text("Email address or password is incorrect.")
    await expect(page.get_by_label("Email")).to_have_value(user.email)


async def test_a_lost_connection_is_read_out(mina: Visitor) -> None:
    mina.allow_messages("net::ERR_")
    page = await mina.open("/jobs")
    await expect(page.locator("#link-state")).to_have_attribute("data-state", "open")
    await mina.context.set_offline(True)
    await expect(page.get_by_role("status")).to_have_text("You are offline. This page may be out of date.")
    await mina.context.set_offline(False)
    await expect(page.get_by_role("status")).to_have_text("Connected again.")


async def test_a_page_of_a_list_that_was_replaced_leads_to_the_new_one(mina: Visitor, user: User) -> None:
    await user.enable({"niche": "food", "interaction_count": 100})
    await user.wait_for_status("enabled")
    page = await mina.open("/dashboard")
    await page.get_by_role("link", name="Older").click()
    await expect(page.get_by_role("link", name="Newest")).to_be_visible()
    await expect(page.locator("#link-state")).to_have_attribute("data-state", "open")
    await user.disable()
    await user.wait_for_status("disabled")
    await user.enable({"niche": "food", "interaction_count": 100})
    await user.wait_for_status("enabled")
    await page.wait_for_url("**/dashboard#recent")
    await shows(page, "Latest interactions")
    await expect(page.locator("#link-state")).to_be_hidden()


async def test_a_fragment_that_was_cut_off_is_fetched_again(mina: Visitor, user: User) -> None:
    mina.allow_messages("net::ERR_")
    job_id = await user.enable({"niche": "food", "interaction_count": 100})
    await user.wait_for_status("enabled")
    page = await mina.open("/notifications")
    await expect(page.locator("#link-state")).to_have_attribute("data-state", "open")
    await expect(page.locator("main").get_by_role("link", name="Enable demo mode")).to_be_visible()
    async with cutting_off_answers() as url:
        # The one event of this change is not repeated.
        await page.route("**/notifications", lambda route: route.continue_(url=url), times=1)
        async with page.expect_event("requestfailed", lambda request: "x-fragment" in request.headers):
            assert (await user.post(f"/notifications/{job_id}/read")).status_code == 204
    await expect(page.locator("main").get_by_role("link", name="Enable demo mode")).to_be_hidden()


async def test_a_page_whose_live_updates_do_not_load_says_so(mina: Visitor) -> None:
    mina.allow_messages("net::ERR_")
    mina.allow_messages("live.js")
    page = await mina.context.new_page()
    await page.route("**/live.js", lambda route: route.abort("connectionreset"))
    await page.goto("/jobs?state=failed")
    await expect(page.get_by_role("status")).to_contain_text("Live updates could not be loaded.")
    await page.unroute("**/live.js")
    await page.locator("#link-state").get_by_role("link", name="Reload").click()
    await expect(page.locator("#link-state")).to_have_attribute("data-state", "open")
    assert page.url.endswith("/jobs?state=failed")


async def test_times_go_by_the_clock_of_the_server(system: System, mina: Visitor, user: User) -> None:
    job_id = await user.enable({"niche": "food", "interaction_count": 20_000})
    job = await mina.context.new_page()
    await job.clock.install(time=datetime.now(UTC) - timedelta(hours=5))
    await job.goto(f"/jobs/{job_id}")
    await job.evaluate("document.querySelector('[data-eta]').textContent = ''")
    await expect(job.locator("[data-eta]")).to_have_text(re.compile(r"seconds left| s left"))
    async with system.hurried_workers():
        await user.wait_for_status("enabled")
    page = await mina.context.new_page()
    await page.clock.install(time=datetime.now(UTC) + timedelta(hours=5))
    await page.goto("/jobs")
    await page.clock.fast_forward(61_000)
    await expect(page.locator(".job-row time")).to_have_text("1 min ago")


async def test_a_page_is_current_after_the_clock_was_set_back(mina: Visitor, user: User) -> None:
    page = await mina.context.new_page()
    await page.clock.install()
    await page.goto("/jobs")
    await expect(page.locator("#link-state")).to_have_attribute("data-state", "open")
    await page.clock.set_system_time(datetime.now(UTC) - timedelta(hours=1))
    await user.enable({"niche": "food", "interaction_count": 100})
    await expect(page.locator(".job-row").get_by_text("Completed")).to_be_visible()
