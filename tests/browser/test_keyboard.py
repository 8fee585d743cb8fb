"""The main flow with the keyboard alone, on a phone's width in the dark theme and on a desk in the light one."""

from __future__ import annotations

import re
from typing import Literal

import pytest
from playwright.async_api import Page, expect

from tests.acceptance.users import PASSWORD
from tests.browser.conftest import NewVisitor
from tests.browser.visitor import SETTINGS

MAX_STOPS = 80
STATE = "element => !element.isConnected ? 'replaced' : element === document.activeElement ? 'focused' : 'elsewhere'"
VISIBLE_FOCUS = """() => {
    const element = document.activeElement;
    const box = element.getBoundingClientRect();
    const rings = [element, element.closest('label'), ...element.children].filter(Boolean)
        .flatMap((each) => [getComputedStyle(each), getComputedStyle(each, '::after')]);
    const hasRing = rings.some(({ outlineStyle, outlineWidth, stroke }) =>
        (outlineStyle !== 'none' && parseFloat(outlineWidth) > 0) || (stroke && stroke !== 'none'));
    const isInView = box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth;
    return hasRing && isInView;
}"""


class Keys:
    """A user with only a keyboard; every focused element must be visibly focused."""

    def __init__(self, page: Page) -> None:
        self.page = page

    async def reach(self, role: Literal["link", "button", "textbox", "radio", "spinbutton"], name: str) -> None:
        """Press Tab until the first element of a role and a name has the focus, which must be visible."""
        element = self.page.get_by_role(role, name=re.compile(name)).first
        await expect(element).to_be_visible()
        handle = await element.element_handle()
        for _ in range(MAX_STOPS):
            state = await handle.evaluate(STATE)
            if state == "focused":
                assert await self.page.evaluate(VISIBLE_FOCUS), name
                return
            if state == "replaced":  # by a live update
                handle = await element.element_handle()
            else:
                await self.page.keyboard.press("Tab")
        pytest.fail(f"the keyboard does not reach {role} {name}")

    async def press(self, role: Literal["link", "button"], name: str) -> None:
        """Reach a link or a button, and press Enter."""
        await self.reach(role, name)
        await self.page.keyboard.press("Enter")

    async def write(self, role: Literal["textbox", "spinbutton"], name: str, text: str) -> None:
        """Reach a field, and replace its text."""
        await self.reach(role, name)
        await self.page.keyboard.press("Control+A")
        await self.page.keyboard.type(text)


async def last_week(page: Page) -> str:
    """Return the beginning of the name of the newest bar."""
    name = (
        await page.get_by_role("group", name=re.compile("^Interactions"))
        .get_by_role("link")
        .last.get_attribute("aria-label")
    )
    return f"^{(name or '').partition(':')[0]}: [\\d,]+ interactions?"


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1280, "light")])
async def test_main_flow_by_keyboard_alone(new_visitor: NewVisitor, width: int, scheme: str) -> None:
    visitor = await new_visitor(viewport={"width": width, "height": 800}, color_scheme=scheme, reduced_motion="reduce")
    page = await visitor.open("/")
    keys = Keys(page)
    await keys.press("link", "Create an account")
    await keys.write("textbox", "^Name", "Mina Okafor")
    await keys.write("textbox", "^Email", visitor.email)
    await keys.write("textbox", "^Password", PASSWORD)
    await page.keyboard.press("Enter")
    await page.wait_for_url(f"**{SETTINGS}")

    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.locator("#main")).to_be_focused()
    # Arrow keys choose among radio buttons.
    await keys.reach("radio", "^Pick for me")
    await page.keyboard.press("ArrowDown")
    await expect(page.get_by_role("radio", name=re.compile("^Creator"))).to_be_checked()
    await keys.write("spinbutton", "^Interactions", "400")
    await keys.press("button", "Enable demo mode")
    await expect(page.get_by_role("heading", name="Demo mode active", exact=False)).to_be_visible()
    await keys.press("link", "^Dashboard")
    await keys.press("link", "^90 days")
    await expect(page.get_by_role("heading", name="Interactions per week")).to_be_visible()
    # A chart is one stop of the Tab key; arrow keys move inside.
    await keys.reach("link", await last_week(page))
    await page.keyboard.press("ArrowLeft")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Interactions from")).to_be_visible()

    await keys.press("link", "^Jobs")
    await keys.press("link", "^Enable demo mode")
    await expect(page.get_by_role("heading", name="Waterfall")).to_be_visible()
    await keys.press("link", "^Settings")
    await keys.press("link", "^Disable demo mode")
    await expect(page.get_by_role("button", name="Keep demo mode")).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("link", name="Disable demo mode")).to_be_focused()
    await page.keyboard.press("Enter")
    await keys.press("button", "^Yes, disable it")
    await expect(page.get_by_role("heading", name="Demo mode is disabled")).to_be_visible()
    await keys.press("button", "^Sign out")
    await expect(page.get_by_role("heading", name="Welcome back")).to_be_visible()
