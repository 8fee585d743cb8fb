"""No page breaks a rule of WCAG 2.2 AA that a machine can check, nor is wider than a phone, in light and dark."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys
from typing import Literal

import pytest
from playwright.async_api import Page, expect

from tests.acceptance.system import System
from tests.acceptance.users import PASSWORD, User
from tests.browser.conftest import Failure, NewVisitor
from tests.browser.visitor import SETTINGS, TIMEOUT_MS, Visitor, shows

HERE = pathlib.Path(__file__).parent
AXE = HERE / "node_modules" / "axe-core" / "axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
COLOUR_RULES = ["color-contrast", "link-in-text-block"]
"""The rules that look at colours. A scheme changes nothing else, so all others are checked in one."""
SCHEMES: dict[Literal["light", "dark"], list[str]] = {"light": RULES, "dark": COLOUR_RULES}
PHONE = 320
"""The narrowest phone: nothing may be wider than it."""
WIDEST = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
LOOKS: tuple[tuple[Literal["light", "dark"], int], ...] = (
    ("light", PHONE),
    ("light", 1280),
    ("dark", 1280),
    ("dark", PHONE),
)
"""Schemes and widths, in an order that changes one at a time: each change draws the page again."""
STRANGER = ("/", "/login", "/register", "/forgot-password", "/nowhere")
BREAK = f"{SETTINGS}/break"
SETTINGS_PAGES = (
    SETTINGS,
    BREAK,
    "/settings/connections",
    "/settings/exports",
    "/settings/profile",
    "/settings/notifications",
    "/settings/data",
    "/settings/delete-account",
    "/settings/security",
    "/settings/sessions",
    "/settings/tokens",
    "/reauthenticate",
)
ADMIN = ("jobs", "errors", "kinds", "schedules", "stuck", "workers", "users", "security-events")


@pytest.fixture(scope="session")
def axe() -> pathlib.Path:
    """axe-core as the lock file names it; it is fetched once."""
    installed = HERE / "node_modules" / ".package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < (HERE / "package-lock.json").stat().st_mtime:
        npm: list[str | pathlib.Path] = [pathlib.Path(sys.executable).with_name("npm"), "ci", "--no-audit", "--no-fund"]
        subprocess.run(npm, cwd=HERE, capture_output=True, timeout=280, check=True)
    return AXE


@pytest.fixture
async def visitor(new_visitor: NewVisitor, axe: pathlib.Path) -> Visitor:
    """A visitor whose pages have axe. As a script tag it costs 0.1 s more a page."""
    visitor = await new_visitor()
    await visitor.context.add_init_script(path=axe)
    visitor.allow_messages("404")
    return visitor


async def breaches(page: Page) -> list[str]:
    """Return the rules that a page breaks, where, and how it was looked at."""
    # Nothing to load first: pages have no media, and their styles are of the page itself.
    run = """async (rules) =>
        (await axe.run(document, { runOnly: rules, resultTypes: ['violations'], preload: false })).violations"""
    broken = []
    for scheme, width in LOOKS:
        await page.emulate_media(color_scheme=scheme)
        await page.set_viewport_size({"width": width, "height": 800})
        if (beyond := await page.evaluate(WIDEST)) > 0:
            broken.append(f"{page.url} {scheme} is {beyond} pixels wider than {width}")
        broken += [
            f"{page.url} {scheme} {width} {breach['id']}: {node['target']} {node['failureSummary']}"
            for breach in await page.evaluate(run, SCHEMES[scheme])
            for node in breach["nodes"]
        ]
    return broken


async def probe(visitor: Visitor, *paths: str) -> list[str]:
    page = await visitor.open(paths[0])
    breaches_ = await breaches(page)
    for path in paths[1:]:
        await page.goto(path)
        breaches_ += await breaches(page)
    await page.close()
    return breaches_


async def test_pages_without_sign_in(visitor: Visitor) -> None:
    assert await probe(visitor, *STRANGER) == []


LOOKS_OF_LINKS = """(selector) => [...document.querySelectorAll(selector)].map((link) => {
    const style = getComputedStyle(link)
    return [link.hasAttribute('aria-current'), `${style.backgroundColor} ${style.color} ${style.borderBottomColor}`]
})"""


async def test_current_page_differs_from_others_in_forced_colors(new_visitor: NewVisitor, user: User) -> None:
    visitor = await new_visitor(forced_colors="active")
    await visitor.sign_in_as(user)
    page = await visitor.open("/settings/profile")
    for selector in (".nav a", ".subnav a"):
        looks = await page.evaluate(LOOKS_OF_LINKS, selector)
        [current] = [look for is_current, look in looks if is_current]
        others = {look for is_current, look in looks if not is_current}
        assert others
        assert current not in others, selector


async def test_pages_of_users_with_long_names_and_addresses(visitor: Visitor, system: System) -> None:
    user = User(system.url, email=f"{'a' * 64}@{'b' * 60}.example.com")
    account = {"email": user.email, "password": PASSWORD, "name": "W" * 100}
    assert (await user.post("/auth/register", json=account)).status_code == 201
    await visitor.sign_in_as(user)
    assert await probe(visitor, "/dashboard", "/jobs", "/notifications", *SETTINGS_PAGES) == []
    await user.close()


async def test_pages_while_demo_mode_is_being_enabled(visitor: Visitor, user: User, system: System) -> None:
    await visitor.sign_in_as(user)
    # Longer than a test may take.
    async with system.workers(DEMO_BATCH_PAUSE_MS="1000"):
        running = await user.enable({"niche": "food", "interaction_count": 50_000})
        page = await visitor.open(f"/jobs/{running}")
        await expect(page.locator("[data-percent]")).to_have_text(re.compile(r"[1-9]\d?%"), timeout=TIMEOUT_MS)
        breaches_ = await breaches(page)
        breaches_ += await probe(visitor, "/jobs", SETTINGS, BREAK, "/dashboard")
        await user.post(f"/jobs/{running}/cancel")
        await user.wait_for_status("disabled")
    assert breaches_ + await probe(visitor, f"/jobs/{running}") == []


async def test_pages_while_demo_mode_is_enabled(visitor: Visitor, user: User) -> None:
    await visitor.sign_in_as(user)
    done = await user.enable({"niche": "food", "interaction_count": 200})
    await user.wait_for_status("enabled")
    confirm = f"{SETTINGS}?confirm=disable"
    assert (
        await probe(visitor, "/dashboard", SETTINGS, BREAK, confirm, f"/jobs/{done}", "/jobs", "/notifications") == []
    )


async def test_pages_after_a_failure(visitor: Visitor, failure: Failure) -> None:
    await visitor.sign_in_as(failure.user)
    job = f"/jobs/{failure.job_id}"
    assert await probe(visitor, SETTINGS, "/dashboard", job, "/jobs?state=failed", "/notifications") == []


async def test_notice_of_a_lost_connection(visitor: Visitor, user: User) -> None:
    visitor.allow_messages("net::ERR_")
    await visitor.sign_in_as(user)
    page = await visitor.open(SETTINGS)
    await visitor.context.set_offline(True)
    await expect(page.locator("#link-state")).to_be_visible()
    assert await breaches(page) == []


async def test_the_dialog_and_a_form_with_mistakes(visitor: Visitor, user: User) -> None:
    visitor.allow_messages("422")
    await visitor.sign_in_as(user)
    page = await visitor.open(SETTINGS)
    await page.evaluate("document.querySelector('.card form').noValidate = true")
    await page.get_by_label("Interactions").fill("1000000")
    await page.get_by_role("button", name="Enable demo mode").click()
    await expect(page.get_by_role("alert")).to_be_focused()
    breaches_ = await breaches(page)
    await user.enable({"niche": "food", "interaction_count": 10})
    await user.wait_for_status("enabled")
    page = await visitor.open(SETTINGS)
    await shows(page, "Demo mode active")
    await page.get_by_role("link", name="Disable demo mode").click()
    breaches_ += await breaches(page)
    assert breaches_ == []


async def test_pages_for_admins(visitor: Visitor, user: User, failure: Failure, system: System) -> None:
    await system.execute("UPDATE auth.users SET role = 'admin' WHERE user_id = %s", user.user_id)
    admin = await user.sign_in_again()
    await visitor.sign_in_as(admin)
    users = [
        "/admin",
        "/admin/kinds/confirm",
        "/admin/kinds/demo.enable",
        "/admin/schedules/demo.expire",
        "/admin/users/confirm/sign-out-all-users",
        "/admin/search?q=demo",
        "/admin/jobs/bulk?change=cancel&system=yes",
        *(f"/admin/{name}" for name in ADMIN),
        f"/jobs/{failure.job_id}",
    ]
    assert await probe(visitor, *users, f"/admin/users/{user.user_id}") == []
    await admin.close()


async def test_pages_of_guests(visitor: Visitor, system: System) -> None:
    guest = User(system.url)
    assert (await guest.post("/auth/guest")).status_code == 201
    await visitor.sign_in_as(guest)
    async with system.paused_kinds("demo.enable"):
        await guest.enable({"niche": "food", "interaction_count": 100})
        breaches_ = await probe(visitor, "/dashboard")
    await guest.wait_for_status("enabled")
    assert breaches_ + await probe(visitor, "/dashboard", SETTINGS, "/settings/profile", "/register") == []
    await guest.close()
