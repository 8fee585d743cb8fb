"""A user in a browser; errors and foreign requests of its pages are recorded."""

from __future__ import annotations

import re
import secrets

from playwright.async_api import BrowserContext, ConsoleMessage, Locator, Page, Request, WebError, expect

from tests.acceptance import waiting
from tests.acceptance.users import PASSWORD, User

SETTINGS = "/settings/demo-mode"
TIMEOUT_MS = 60_000
# Chromium logs every 401: of a tab that checks its session or opens its stream during a sign-out.
_SIGNED_OUT = re.compile(
    r"/api/v1/(auth/me|events\S*): Failed to load resource: the server responded with a status of 401"
)
_COLOUR = re.compile(r"rgba?\((\d+), (\d+), (\d+)")


class Visitor:
    """A browser context, with the console errors and the foreign requests of its pages."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.context = context
        self.url = url
        self.email = f"{secrets.token_hex(6)}@example.com"
        self.complaints: list[str] = []
        self.foreign: list[str] = []
        self._tolerated: list[str] = []
        self._visited: tuple[str, ...] = (f"{url}/", "data:")
        context.set_default_timeout(TIMEOUT_MS)
        context.on("console", self._note_message)
        context.on("weberror", self._note_error)
        context.on("request", self._note_request)

    async def open(self, path: str) -> Page:
        """Open a page in a new tab."""
        page = await self.context.new_page()
        await page.goto(path)
        return page

    async def sign_in_as(self, user: User) -> None:
        """Use the session of a user."""
        self.email = user.email
        token = user.http.cookies["session"]
        await self.context.add_cookies([{"name": "session", "value": token, "url": self.url}])

    async def register(self, page: Page, *, name: str = "Mina Okafor") -> None:
        """Register from the front page."""
        await page.goto("/")
        await page.get_by_role("link", name="Create an account").click()
        await self.register_here(page, name=name)

    async def register_here(self, page: Page, *, name: str = "Mina Okafor") -> None:
        """Register by the form of the current page."""
        await page.get_by_label("Name").fill(name)
        await page.get_by_label("Email").fill(self.email)
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_role("button", name="Create account").click()
        await expect(page.get_by_role("heading", name="Demo mode", exact=True)).to_be_visible()

    def allow_messages(self, words: str) -> None:
        """Expect console messages that contain `words`."""
        self._tolerated.append(words)

    def allow_site(self, url: str) -> None:
        """Expect requests to another site."""
        self._visited += (url,)

    def assert_no_complaints(self) -> None:
        """Fail on an unexpected console error, or a request to another site."""
        complaints = [text for text in self.complaints if not _SIGNED_OUT.search(text)]
        unexpected = [text for text in complaints if not any(words in text for words in self._tolerated)]
        assert not unexpected, unexpected
        assert self.foreign == []

    def _note_message(self, message: ConsoleMessage) -> None:
        # A violation of the content security policy is a console error too.
        if message.type in {"error", "warning"}:
            self.complaints.append(f"{message.location.get('url')}: {message.text}")

    def _note_error(self, error: WebError) -> None:
        self.complaints.append(str(error.error))

    def _note_request(self, request: Request) -> None:
        if not request.url.startswith(self._visited):
            self.foreign.append(request.url)


async def enable(page: Page, interactions: int) -> None:
    """Fill in the form on the settings page and send it."""
    await page.get_by_label("Interactions").fill(str(interactions))
    await page.get_by_text("Local business").click()
    await page.get_by_label("Niche").select_option("food")
    await page.get_by_role("button", name="Enable demo mode").click()


async def hide(page: Page, is_hidden: bool) -> None:
    """Make a page hidden or visible."""
    await page.evaluate(
        """(hidden) => {
            Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });
            Object.defineProperty(document, 'visibilityState', { value: hidden ? 'hidden' : 'visible', configurable: true });
            document.dispatchEvent(new Event('visibilitychange'));
        }""",
        is_hidden,
    )


def heading(page: Page, words: str) -> Locator:
    """Find a heading."""
    return page.get_by_role("heading", name=words)


async def shows(page: Page, words: str) -> None:
    """Wait until a heading with these words is visible."""
    await expect(heading(page, words)).to_be_visible(timeout=TIMEOUT_MS)


async def mark(page: Page) -> None:
    """Set a variable in the page that a reload would remove."""
    await page.evaluate("window.mark = 'still here'")


async def is_still_the_same(page: Page) -> bool:
    """Return whether the page was not reloaded since `mark`."""
    return bool(await page.evaluate("window.mark === 'still here'"))


async def pulses(element: Locator) -> bool:
    """Wait until an element, or its replacement, is animated."""

    async def probe() -> bool:
        return int(await element.evaluate("element => element.getAnimations({subtree: true}).length")) > 0

    return await waiting.until(probe, "the element pulses")


async def tint(element: Locator) -> str:
    """Return the background colour of an element: yellow, purple, red, or the CSS value."""

    async def probe() -> str:
        # An element that a newer one has just replaced has no colour.
        return str(await element.evaluate("element => getComputedStyle(element).backgroundColor"))

    text = await waiting.until(probe, "the element has a colour")
    match = _COLOUR.match(text)
    assert match, text
    red, green, blue = (int(part) for part in match.groups())
    if red > blue and green > blue and red - blue > green - blue >= (red - blue) / 2:
        return "yellow"
    if blue > green and red > green:
        return "purple"
    return "red" if red > max(green, blue) else text
