"""An operator in the administration, with every click recorded."""

from __future__ import annotations

from uuid import UUID

from playwright.async_api import Page, expect

from chassis import ids
from tests.acceptance.system import System
from tests.acceptance.users import User
from tests.browser.visitor import TIMEOUT_MS, Visitor, is_still_the_same, mark

JOBS = 120
MAX_CLICKS = 10
# Failed imports of a worker that has gone meanwhile; a retry makes them pending again.
FAILED_IMPORTS = """
INSERT INTO jobs.jobs (job_id, owner_id, kind, payload, priority, budget, backoff, max_backoff, attempt_timeout, state, run_at,
    attempt, max_attempts, started_at, finished_at, error_code, error_message)
SELECT unnest(%s::uuid[]), %s, 'demo.import', '{}', 0, 3, '1 s', '60 s', '600 s', 'failed', now(), 1, 3, now(), now(),
    'quota_exceeded', 'The platform refused the import: quota exceeded.'
"""
LONGEST_NAMES = "UPDATE jobs.jobs SET kind = %s, error_code = %s WHERE job_id = %s"
LATER = "UPDATE jobs.jobs SET state = 'scheduled', ready = false, run_at = now() + interval '1 hour' WHERE job_id = %s"
ATTEMPTS = """
INSERT INTO jobs.attempts (job_id, attempt, worker, finished_at, outcome, error_code, error_message, exception_type,
    exception_message, place, fingerprint)
SELECT job_id, 1, 'demo-gone', now(), 'failed', error_code, error_message, 'QuotaExceeded',
    'quota of 100 calls a minute exceeded', 'imports.py:40 fetch', 'abcdef0123456789'
FROM jobs.jobs WHERE kind = 'demo.import'
"""


class Clicks:
    """Clicks on a page, and what was clicked."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.clicked: list[str] = []

    async def on(self, role: str, name: str) -> None:
        """Click the first element of a role and a name."""
        self.clicked.append(name)
        await self.page.get_by_role(role, name=name).first.click()  # type: ignore[arg-type]


async def test_the_longest_names_fit_into_their_columns(visitor: Visitor, user: User, system: System) -> None:
    await system.execute("UPDATE auth.users SET role = 'admin' WHERE user_id = %s", user.user_id)
    await visitor.sign_in_as(await user.sign_in_again())
    job_id = ids.uuid7()
    await system.execute(FAILED_IMPORTS, [job_id], UUID(user.user_id))
    await system.execute(LONGEST_NAMES, "abcdefghi_" * 10, "long_code_" * 10, job_id)
    for path, selector in (
        ("/admin/jobs", f"#job-{job_id}"),
        ("/admin/errors", "[data-row][id^=group-abcdefghi]"),
    ):
        page = await visitor.open(path)
        cell = page.locator("td").filter(has=page.locator(selector))
        await expect(cell).to_be_visible()
        assert await cell.evaluate("(cell) => cell.closest('table').getBoundingClientRect().right <= innerWidth")
        # Nothing of a cell is seen outside of it.
        assert await cell.evaluate(
            "(cell) => getComputedStyle(cell).overflowX === 'hidden' || cell.scrollWidth <= cell.clientWidth"
        )
        await page.close()
    await system.execute("DELETE FROM jobs.jobs WHERE job_id = %s", job_id)


async def test_cause_of_failed_imports_is_found_and_120_jobs_are_retried_in_ten_clicks(
    visitor: Visitor, user: User, system: System
) -> None:
    await system.execute("UPDATE auth.users SET role = 'admin' WHERE user_id = %s", user.user_id)
    admin = await user.sign_in_again()
    await visitor.sign_in_as(admin)
    job_ids: list[UUID] = [ids.uuid7() for _ in range(JOBS)]
    await system.execute(FAILED_IMPORTS, job_ids, UUID(user.user_id))
    await system.execute(ATTEMPTS)

    # "Something is wrong with imports."
    page = await visitor.open("/dashboard")
    clicks = Clicks(page)
    await clicks.on("link", "Admin")
    await expect(page.get_by_role("heading", name="Needs attention")).to_be_visible()
    await clicks.on("link", "Import (demo)")
    # The cause.
    await expect(page.get_by_text("quota of 100 calls a minute exceeded")).to_be_visible()
    await expect(page.get_by_text("imports.py:40 fetch")).to_be_visible()
    await clicks.on("link", "QuotaExceeded")
    await expect(page.get_by_text("120 jobs of 1 user")).to_be_visible()
    await clicks.on("link", "Retry all 120…")
    await expect(page.get_by_role("heading", name="Retry 120 jobs?")).to_be_visible()
    await clicks.on("button", "Retry 120 jobs")
    await expect(page.get_by_role("heading", name="Change many jobs")).to_be_visible()
    await expect(page.get_by_text("Completed").first).to_be_visible(timeout=TIMEOUT_MS)
    rows = await system.query("SELECT state, count(*) FROM jobs.jobs WHERE kind = 'demo.import' GROUP BY state")
    assert rows == [{"state": "pending", "count": JOBS}]
    assert len(clicks.clicked) <= MAX_CLICKS, clicks.clicked

    # One is held, then all others; the page of the job follows without a reload, also where only the hold changes.
    await system.execute(LATER, job_ids[0])
    page = await visitor.open(f"/jobs/{job_ids[0]}")
    await mark(page)
    for action, button in (("hold", "Release"), ("release", "Put on hold"), ("hold", "Release")):
        answer = await admin.post(f"/admin/jobs/{job_ids[0]}/{action}")
        assert answer.status_code == 202, answer.text
        await expect(page.get_by_role("button", name=button)).to_be_visible(timeout=TIMEOUT_MS)
    await expect(page.get_by_text("This job is on hold.")).to_be_visible()
    assert await is_still_the_same(page)
    page = await visitor.open("/admin/jobs?kind=demo.import&state=waiting")
    await page.get_by_role("link", name="Put on hold…").click()
    await page.get_by_label("How fast").select_option("100")
    await page.get_by_role("button", name=f"Put {JOBS - 1} jobs on hold").click()
    await expect(page.get_by_text("Completed").first).to_be_visible(timeout=TIMEOUT_MS)
    page = await visitor.open("/admin/jobs?kind=demo.import&state=on_hold")
    await expect(page.get_by_text("120 jobs of 1 user")).to_be_visible()
    await page.get_by_role("button", name="Release").first.click()
    await expect(page.get_by_text("Released: Import (demo).")).to_be_visible()
    await expect(page.get_by_text("119 jobs of 1 user")).to_be_visible()
    await admin.close()
    # An open page of a deleted job would complain.
    for tab in visitor.context.pages:
        await tab.close()
    await system.execute("DELETE FROM jobs.jobs WHERE kind = 'demo.import'")


async def test_keys_move_through_lists_and_search_goes_to_the_only_hit(
    visitor: Visitor, user: User, system: System
) -> None:
    await system.execute("UPDATE auth.users SET role = 'admin' WHERE user_id = %s", user.user_id)
    admin = await user.sign_in_again()
    await visitor.sign_in_as(admin)
    job_id = await user.enable({"niche": "food", "interaction_count": 10})
    await user.wait_for_status("enabled")
    page = await visitor.open("/admin/jobs")
    rows = page.locator("[data-row]")
    await expect(page.get_by_role("button", name="Keys")).to_be_visible()

    # The list refreshes meanwhile: the row keeps the focus.
    await page.keyboard.press("j")
    await expect(rows.first).to_be_focused()
    await page.keyboard.press("k")
    await expect(rows.first).to_be_focused()
    await page.keyboard.press("?")
    await expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    await page.keyboard.press("j")
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog", name="Keys")).to_be_hidden()

    search = page.get_by_role("searchbox", name="Search everything")
    await page.keyboard.press("/")
    await expect(search).to_be_focused()
    await page.keyboard.type("j/k?")
    await expect(search).to_have_value("j/k?")
    await search.fill(job_id)
    await page.keyboard.press("Enter")
    await page.wait_for_url(f"**/jobs/{job_id}")
    await page.goto("/admin/users")
    await page.keyboard.press("/")
    await page.keyboard.type(user.email)
    await page.keyboard.press("Enter")
    await page.wait_for_url(f"**/admin/users/{user.user_id}")
    await page.get_by_role("link", name="Sign out everywhere…").wait_for(state="detached")
    await page.goto("/admin/users")
    await page.keyboard.press("j")
    await expect(rows.first).to_be_focused()
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/admin/users/*")
    await admin.close()


async def test_keys_are_turned_off_in_this_browser(visitor: Visitor, user: User, system: System) -> None:
    await system.execute("UPDATE auth.users SET role = 'admin' WHERE user_id = %s", user.user_id)
    admin = await user.sign_in_again()
    await visitor.sign_in_as(admin)
    page = await visitor.open("/admin/kinds")
    search = page.get_by_role("searchbox", name="Search everything")
    for is_on in (False, True):
        await page.get_by_role("button", name="Keys").click()
        await page.get_by_label("Use these keys").set_checked(is_on)
        await page.get_by_role("button", name="Close").click()
        await page.goto("/admin/users")
        await page.keyboard.press("/")
        assert await search.evaluate("field => field === document.activeElement") is is_on
    await admin.close()


async def test_a_job_is_run_by_a_form_and_scheduled(visitor: Visitor, user: User, system: System) -> None:
    await system.execute("UPDATE auth.users SET role = 'admin' WHERE user_id = %s", user.user_id)
    admin = await user.sign_in_again()
    await visitor.sign_in_as(admin)
    page = await visitor.open("/admin/kinds/demo.expire")
    await page.get_by_role("button", name="Run job").click()
    await page.wait_for_url("**/jobs/*")
    await page.get_by_role("link", name="Replay with changes…").click()
    await expect(page.get_by_role("heading", name="Replay with changes")).to_be_visible()
    await page.get_by_text("Schedule it").click()
    name = f"operator.{ids.uuid7().hex}"
    await page.get_by_label("Name").fill(name)
    await page.get_by_label("Cron").fill("0 3 * * 1")
    await page.get_by_label("Time zone").fill("Europe/Berlin")
    await page.get_by_role("button", name="Create schedule").click()
    await expect(page.get_by_role("heading", name=name)).to_be_visible()
    await expect(page.get_by_text("Schedule saved: operator.")).to_be_visible()
    await expect(page.get_by_role("heading", name="Next runs")).to_be_visible()
    await page.get_by_role("link", name="Delete…").click()
    await page.get_by_role("button", name="Delete schedule").click()
    await expect(page.get_by_text("Schedule deleted: operator.")).to_be_visible()
    await admin.close()
