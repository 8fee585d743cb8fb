"""The page of a job shows its owner and an operator, live, what happened and why."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import expect

from tests.acceptance.system import WORKER, System
from tests.acceptance.users import User
from tests.browser.conftest import Failure, NewVisitor
from tests.browser.visitor import TIMEOUT_MS, Visitor, is_still_the_same, mark

LARGE = {"niche": "food", "interaction_count": 100_000}
"""Longer than a busy machine takes for a test, which cancels the job."""
SMALL = {"niche": "food", "interaction_count": 100}
ZONE = "Asia/Kolkata"


@pytest.fixture
async def operator(system: System) -> AsyncIterator[User]:
    """Return an admin."""
    registered = await User.register(system.url)
    await system.execute("UPDATE auth.users SET role = 'admin' WHERE user_id = %s", registered.user_id)
    admin = await registered.sign_in_again()
    yield admin
    await registered.close()
    await admin.close()


async def test_operator_sees_another_users_job_live(new_visitor: NewVisitor, user: User, operator: User) -> None:
    visitor = await new_visitor()
    await visitor.sign_in_as(operator)
    job_id = await user.enable(LARGE)
    await user.wait_for_job(job_id, "running")  # an operator finds submitted jobs only
    page = await visitor.open(f"/jobs/{job_id}")
    await expect(page.locator(".pill--running")).to_be_visible(timeout=TIMEOUT_MS)
    await mark(page)
    await expect(page.locator("[data-percent]")).to_have_text(re.compile(r"[1-9]\d?%"), timeout=TIMEOUT_MS)
    await expect(page.get_by_role("link", name="Admin")).to_have_attribute("aria-current", "true")
    await expect(page.get_by_text("You can close this tab")).to_have_count(0)
    await user.post(f"/jobs/{job_id}/cancel")
    await expect(page.locator(".pill--cancelled")).to_be_visible(timeout=TIMEOUT_MS)
    await user.post(f"/jobs/{job_id}/retry")
    await expect(page.locator(".pill--cancelled")).to_have_count(0, timeout=TIMEOUT_MS)
    assert await is_still_the_same(page)
    await user.post(f"/jobs/{job_id}/cancel")


async def test_operator_reads_why_a_job_failed_and_the_owner_a_safe_message(
    new_visitor: NewVisitor, visitor: Visitor, failure: Failure, operator: User
) -> None:
    job_id = failure.job_id
    operating = await new_visitor(timezone_id=ZONE)
    await operating.sign_in_as(operator)
    page = await operating.open(f"/jobs/{job_id}")
    await page.reload()  # the first page stores the zone in a cookie
    traceback = page.get_by_role("region", name="Traceback of attempt 3")
    await expect(traceback).to_contain_text("raise worker.JobFailed(")
    await expect(page.get_by_text("services/demo/handlers.py:_fail_if_configured").first).to_be_visible()
    await expect(page.get_by_role("region", name="Log lines")).to_contain_text("DEMO_FAIL_HANDLERS names this kind")
    await expect(page.get_by_role("region", name="Payload as JSON")).to_contain_text('"generation": 1')

    # The times are those of the browser's zone; the tooltip has UTC.
    submitted = page.locator("dt:text-is('Submitted') + dd time")
    utc = await submitted.get_attribute("title")
    assert utc is not None
    hour, minute = (int(part) for part in re.findall(r", (\d+):(\d+):", utc)[0])
    local = (hour * 60 + minute + 330) % 1_440
    await expect(submitted).to_contain_text(f"{local // 60:02}:{local % 60:02}:")

    await visitor.sign_in_as(failure.user)
    own = await visitor.open(f"/jobs/{job_id}")
    await expect(own.get_by_text("This job failed on purpose, to show what happens.").first).to_be_visible()
    await expect(own.locator("#job-id")).to_have_text(job_id)
    for words in ("Traceback", "handlers.py", "DEMO_FAIL_HANDLERS"):
        await expect(own.get_by_text(words)).to_have_count(0)
    await failure.user.post("/demo/dismiss")
    await own.reload()
    await expect(own.get_by_text("can no longer be retried")).to_be_visible()
    await expect(own.get_by_role("button", name="Retry")).to_have_count(0)


async def test_page_without_javascript_shows_the_worker_that_died_and_the_one_that_took_over(
    new_visitor: NewVisitor, user: User, operator: User, system: System
) -> None:
    job_id = await user.enable(LARGE)
    watching = await new_visitor()
    await watching.sign_in_as(operator)
    page = await watching.open(f"/jobs/{job_id}")
    await expect(page.locator("[data-percent]")).to_have_text(re.compile(r"[1-9]\d?%"), timeout=TIMEOUT_MS)
    await system.kill(WORKER)
    await system.start(WORKER)
    # Lines of the next attempt arrive without a reload.
    await expect(page.get_by_role("region", name="Log lines")).to_contain_text("resuming", timeout=TIMEOUT_MS)
    await expect(page.get_by_text(re.compile(r"Killed at .* resumed at .* by another worker"))).to_be_visible(
        timeout=TIMEOUT_MS
    )
    plain = await new_visitor(java_script_enabled=False)
    await plain.sign_in_as(operator)
    # A page that asks does not reload.
    static = await plain.open(f"/jobs/{job_id}?ask=cancel")
    await expect(static.get_by_text(re.compile("Killed at .* resumed at"))).to_be_visible()
    await expect(static.get_by_role("button", name="Copy")).to_have_count(0)
    await static.get_by_role("button", name="Yes, cancel it").click()
    await expect(static.get_by_text(re.compile("being stopped|Stopped before")).first).to_be_visible()
    await user.wait_for_status("disabled")
