"""The list of the dashboard without JavaScript: filters, pages, unread notifications."""

from __future__ import annotations

from tests.integration.gateway.conftest import Account
from tests.integration.gateway.html import Page, submit
from tests.integration.gateway.test_demo_pages import enabled, until

PATH = "/dashboard"


async def probe(account: Account, path: str = PATH) -> Page:
    answer = await account.http.get(path, headers={"Accept": "text/html"})
    assert answer.status_code == 200, answer.text
    return Page(answer)


async def test_interactions_are_filtered_and_paged(account: Account) -> None:
    await enabled(account)
    kinds = ("Comment", "Review", "Mention")
    shown = [await probe(account, f"{PATH}?kind={kind.lower()}&sentiment=nonsense") for kind in kinds]
    kinds_shown = [[other for other in kinds if f"{other} on" in page.text] for page in shown]
    assert all(others in ([], [kind]) for kind, others in zip(kinds, kinds_shown, strict=True))
    assert any(kinds_shown)
    waiting = await probe(account, f"{PATH}?needs_reply=yes")
    assert "Replied" not in waiting.text
    (older,) = [link for link in (await probe(account)).links if "page_token=" in link]
    second = await probe(account, older)
    assert "Interactions" in second.text
    assert f"{PATH}" in second.links
    lost = await account.http.get(f"{PATH}?kind=review&page_token=nonsense", headers={"Accept": "text/html"})
    assert (lost.status_code, lost.headers["location"]) == (303, f"{PATH}?kind=review#recent")


async def test_finished_jobs_are_shown_until_read(account: Account) -> None:
    await enabled(account)
    page = await until(account, "Recently finished", PATH)
    assert "Enable demo mode" in page.text
    answer = await submit(account.http, page, "/notifications/read", job_id="", origin=PATH)
    assert (answer.status_code, answer.headers["location"]) == (303, PATH)
    assert "Recently finished" not in (await probe(account)).text
