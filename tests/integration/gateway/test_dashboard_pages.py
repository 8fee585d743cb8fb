"""The list of the dashboard without JavaScript: filters, pages, unread notifications."""

from __future__ import annotations

from datetime import date, timedelta

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
    pages = [await probe(account, f"{PATH}?kind={kind.lower()}&sentiment=nonsense") for kind in kinds]
    kinds_shown = [[other for other in kinds if f"{other} on" in page.text] for page in pages]
    assert all(others in ([], [kind]) for kind, others in zip(kinds, kinds_shown, strict=True))
    assert any(kinds_shown)
    waiting = await probe(account, f"{PATH}?needs_reply=yes")
    assert "Replied" not in waiting.text
    first = await probe(account)
    (older,) = [link for link in first.links if "page_token=" in link]
    second = await probe(account, older)
    assert "Interactions" in second.text
    assert "Newest Newer Older" in second.text
    assert f"{PATH}" in second.links
    newer, _ = [link for link in second.links if "page_token=" in link]
    back = await probe(account, newer)
    assert ("Newer" in back.text, [link for link in back.links if "page_token=" in link]) == (False, [older])
    oldest = await probe(account, f"{PATH}?order=oldest")
    (newer,) = [link for link in oldest.links if "page_token=" in link]
    assert "order=oldest" in newer
    assert "Oldest Older Newer" in (await probe(account, newer)).text
    lost = await account.http.get(f"{PATH}?kind=review&page_token=nonsense", headers={"Accept": "text/html"})
    assert (lost.status_code, lost.headers["location"]) == (303, f"{PATH}?kind=review#recent")


async def test_finished_jobs_are_shown_until_read(account: Account) -> None:
    # The page of demo mode would mark the end of the job as read.
    accepted = await account.http.post("/api/v1/demo/enable", json={"interaction_count": 40})
    assert accepted.status_code == 202, accepted.text
    page = await until(account, "Recently finished", PATH)
    assert "Enable demo mode" in page.text
    answer = await submit(account.http, page, "/notifications/read", job_id="", origin=PATH)
    assert (answer.status_code, answer.headers["location"]) == (303, PATH)
    assert "Recently finished" not in (await probe(account)).text


async def test_charts_have_ranges_and_lead_to_filtered_lists(account: Account) -> None:
    await enabled(account)
    page = await probe(account)
    assert "in the last 30 days" in page.text
    week = await probe(account, f"{PATH}?days=7")
    assert "in the last 7 days" in week.text
    days = [link for link in week.links if "date=" in link]
    # A bar, a column and a row of each table for every day.
    assert len(days) == 4 * 7
    assert all(link.startswith(f"{PATH}?days=7&date=") and link.endswith("#recent") for link in days)
    assert {f"{PATH}?days=7&needs_reply=yes#recent", f"{PATH}?days=7&kind=review#recent"} <= set(week.links)
    assert f"{PATH}?days=90" in week.links
    quarter = await account.http.get(f"{PATH}?days=90", headers={"Accept": "text/html"})
    weeks = [link for link in Page(quarter).links if "date=" in link]
    # The oldest of 13 weeks has six days.
    assert [len(weeks), sum("&span=7#" in link for link in weeks), sum("&span=6#" in link for link in weeks)] == [
        52,
        48,
        4,
    ]
    # Without the list below the charts, whose comments differ in length.
    assert len(quarter.content.partition(b'<section id="recent"')[0]) < 40_000
    numbers = (await account.http.get("/api/v1/metrics/dashboard", params={"days": 180})).json()
    busiest = max(numbers["interactions_per_day"], key=lambda day: day["count"])
    listed = (await account.http.get("/api/v1/interactions", params={"date": busiest["date"], "page_size": 100})).json()
    assert len(listed["interactions"]) == busiest["count"]
    week_of = {"date": busiest["date"], "days": 7, "page_size": 100}
    listed_week = (await account.http.get("/api/v1/interactions", params=week_of)).json()["interactions"]
    counts = {day["date"]: day["count"] for day in numbers["interactions_per_day"]}
    seven = [(date.fromisoformat(busiest["date"]) + timedelta(days=day)).isoformat() for day in range(7)]
    assert len(listed_week) == sum(counts.get(day, 0) for day in seven)
    assert "Interactions from" in (await probe(account, f"{PATH}?date={busiest['date']}&span=7")).text
    day_page = await probe(account, f"{PATH}?date={busiest['date']}")
    assert listed["interactions"][0]["author"]["name"] in day_page.text
    for nonsense in ("days=31", "date=2026-02-30", "date=20261123", "date=9999-12-28&span=7"):
        assert "Latest interactions" in (await probe(account, f"{PATH}?{nonsense}")).text
    too_long = await account.http.get("/api/v1/interactions", params={"date": busiest["date"], "days": 32})
    assert (too_long.status_code, too_long.json()["errors"][0]["field"]) == (422, "days")
    for field, value in (("days", 181), ("days", 0), ("date", "today"), ("date", "9999-12-31")):
        path = "/api/v1/metrics/dashboard" if field == "days" else "/api/v1/interactions"
        answer = await account.http.get(path, params={field: value})
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)
