"""Somebody at a browser, over whose shoulder we look: whatever goes wrong on a page is noted."""

from __future__ import annotations

import re
import secrets

from playwright.async_api import BrowserContext, ConsoleMessage, Locator, Page, Request, WebError, expect

from tests.acceptance import waiting
from tests.acceptance.users import PASSWORD, User

SETTINGS = "/settings/demo-mode"
PATIENCE_MS = 60_000
# A tab asks whether it is still signed in, or opens its stream while somebody signs out. Chromium notes every 401.
_SIGNED_OUT = re.compile(
    r"/api/v1/(auth/me|events\S*): Failed to load resource: the server responded with a status of 401"
)
_COLOUR = re.compile(r"rgba?\((\d+), (\d+), (\d+)")


class Visitor:
    """A browser of its own, with everything that its pages complained about or loaded from elsewhere."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.context = context
        self.url = url
        self.email = f"{secrets.token_hex(6)}@example.com"
        self.complaints: list[str] = []
        self.foreign: list[str] = []
        self._tolerated: list[str] = []
        self._visited: tuple[str, ...] = (f"{url}/", "data:")
        context.set_default_timeout(PATIENCE_MS)
        context.on("console", self._note_message)
        context.on("weberror", self._note_error)
        context.on("request", self._note_request)

    async def open(self, path: str) -> Page:
        """Open a page in a tab of its own."""
        page = await self.context.new_page()
        await page.goto(path)
        return page

    async def is_user(self, user: User) -> None:
        """Go on in the session of a user."""
        self.email = user.email
        token = user.http.cookies["session"]
        await self.context.add_cookies([{"name": "session", "value": token, "url": self.url}])

    async def register(self, page: Page, *, name: str = "Mina Okafor") -> None:
        """Make an account, from the front door."""
        await page.goto("/")
        await page.get_by_role("link", name="Create an account").click()
        await self.register_here(page, name=name)

    async def register_here(self, page: Page, *, name: str = "Mina Okafor") -> None:
        """Make an account by the form of the present page."""
        await page.get_by_label("Name").fill(name)
        await page.get_by_label("Email").fill(self.email)
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_role("button", name="Create account").click()
        await expect(page.get_by_role("heading", name="Demo mode", exact=True)).to_be_visible()

    def tolerate(self, words: str) -> None:
        """Take messages with these words as part of what the test is about."""
        self._tolerated.append(words)

    def visits(self, url: str) -> None:
        """Take a page elsewhere as part of what the test is about."""
        self._visited += (url,)

    def must_be_content(self) -> None:
        """Fail if a page complained about anything, or loaded something from elsewhere."""
        complaints = [text for text in self.complaints if not _SIGNED_OUT.search(text)]
        unexpected = [text for text in complaints if not any(words in text for words in self._tolerated)]
        assert not unexpected, unexpected
        assert self.foreign == []

    def _note_message(self, message: ConsoleMessage) -> None:
        # What a content policy stops is an error on the console as well.
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
    """Make a page believe that nobody looks at it, or that somebody does again."""
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
    """Wait until a heading says so."""
    await expect(heading(page, words)).to_be_visible(timeout=PATIENCE_MS)


async def mark(page: Page) -> None:
    """Leave a mark on the page that a reload would take away."""
    await page.evaluate("window.mark = 'still here'")


async def is_still_the_same(page: Page) -> bool:
    """Whether the page has not been loaded again since it was marked."""
    return bool(await page.evaluate("window.mark === 'still here'"))


async def pulses(element: Locator) -> bool:
    """Whether an element is animated; it may be replaced by one that does."""

    async def probe() -> bool:
        return int(await element.evaluate("element => element.getAnimations({subtree: true}).length")) > 0

    return await waiting.until(probe, "the element pulses")


async def tint(element: Locator) -> str:
    """Name the colour of an element's ground: yellow, purple, red, or what it is."""

    async def probe() -> str:
        # An element that has just been replaced by a newer one has no colour at all.
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
