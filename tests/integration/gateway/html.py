"""Pages without JavaScript: their text and their forms."""

from __future__ import annotations

from html.parser import HTMLParser

import httpx

HTML = {"Accept": "text/html"}


class Page(HTMLParser):
    """The text of a page, and the fields of its forms by action."""

    def __init__(self, answer: httpx.Response) -> None:
        super().__init__()
        self.forms: dict[str, dict[str, str]] = {}
        self.attributes: dict[str, dict[str, str]] = {}
        """Attributes of each element that has an id."""
        self.tags: set[str] = set()
        self.links: list[str] = []
        self._words: list[str] = []
        self._form: dict[str, str] = {}
        self.feed(answer.text)
        self.text = " ".join(" ".join(self._words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note forms, fields and ids."""
        attributes = {name: value or "" for name, value in attrs}
        self.tags.add(tag)
        if tag == "a" and "href" in attributes:
            self.links.append(attributes["href"])
        if "id" in attributes:
            self.attributes[attributes["id"]] = attributes
        if tag == "form":
            self._form = self.forms.setdefault(attributes.get("action", ""), {})
        is_chosen = attributes.get("type") not in {"radio", "checkbox"} or "checked" in attributes
        if tag == "input" and is_chosen:
            self._form[attributes["name"]] = attributes.get("value", "")

    def handle_data(self, data: str) -> None:
        """Note text."""
        self._words.append(data)


async def submit(http: httpx.AsyncClient, page: Page, action: str, **values: str) -> httpx.Response:
    """Send a form of a page with `values`; redirects are not followed."""
    return await http.post(action, data={**page.forms[action], **values})


async def open_page(http: httpx.AsyncClient, path: str) -> Page:
    answer = await http.get(path, headers=HTML)
    assert answer.status_code == 200, answer.text
    return Page(answer)


async def press(http: httpx.AsyncClient, page: Page, action: str, **values: str) -> Page:
    """Send a form; return the page after redirects."""
    answer = await submit(http, page, action, **values)
    assert answer.status_code == 303, answer.text
    return await open_page(http, answer.headers["location"])
