"""Notification settings: the page without JavaScript, REST, what they change on pages, and what an admin sees."""

from __future__ import annotations

from tests.integration.gateway.conftest import Account
from tests.integration.gateway.html import HTML, Page, submit

PATH = "/settings/notifications"
REST = "/api/v1/auth/notification-settings"


async def test_settings_are_saved(account: Account) -> None:
    page = Page(await account.http.get(PATH, headers=HTML))
    answer = await submit(account.http, page, f"{PATH}/save", notices_exports="", job_emails="failed")
    assert (answer.status_code, answer.headers["location"]) == (303, PATH)
    saved = await account.http.get(PATH, headers=HTML)
    assert "Notification settings saved." in Page(saved).text
    assert 'name="job_emails" value="failed" checked' in saved.text
    assert 'name="notices_exports" value="yes" >' in saved.text
    assert 'name="notices_connections" value="yes" checked>' in saved.text
    settings = {"page_notices": True, "muted_notices": ["exports"], "job_emails": "failed"}
    assert (await account.http.get(REST)).json() == settings


async def test_settings_without_a_category_turn_notices_off(account: Account) -> None:
    unticked = dict.fromkeys((f"notices_{name}" for name in ("demo_mode", "exports", "connections", "other")), "")
    page = Page(await account.http.get(PATH, headers=HTML))
    await submit(account.http, page, f"{PATH}/save", **unticked)
    assert (await account.http.get(REST)).json()["page_notices"] is False
    assert "Notifications are off" in Page(await account.http.get("/notifications", headers=HTML)).text
    page = Page(await account.http.get(PATH, headers=HTML))
    await submit(account.http, page, f"{PATH}/save", **{**unticked, "notices_other": "yes"})
    settings = {"page_notices": True, "muted_notices": ["connections", "demo_mode", "exports"], "job_emails": "all"}
    assert (await account.http.get(REST)).json() == settings


async def test_rest_changes_only_the_given_settings(account: Account) -> None:
    assert (await account.http.get(REST)).json() == {"page_notices": True, "muted_notices": [], "job_emails": "all"}
    muted = await account.http.patch(REST, json={"muted_notices": ["other", "demo_mode"]})
    assert muted.json()["muted_notices"] == ["demo_mode", "other"]
    changed = await account.http.patch(REST, json={"job_emails": "none"})
    assert changed.json() == {"page_notices": True, "muted_notices": ["demo_mode", "other"], "job_emails": "none"}
    assert (await account.http.patch(REST, json={})).json() == changed.json()
    response = await account.http.patch(REST, json={"job_emails": "weekly", "muted_notices": ["weather"]})
    assert response.status_code == 422
    assert [error["field"].partition(".")[0] for error in response.json()["errors"]] == ["muted_notices", "job_emails"]
    assert (await account.http.patch(REST, json={"muted_notices": []})).json()["muted_notices"] == []


async def test_mistake_stands_at_its_field(account: Account) -> None:
    page = Page(await account.http.get(PATH, headers=HTML))
    answer = await submit(account.http, page, f"{PATH}/save", job_emails="weekly")
    assert answer.status_code == 422
    assert Page(answer).attributes["job_emails"]["aria-describedby"].endswith("job_emails-error")
