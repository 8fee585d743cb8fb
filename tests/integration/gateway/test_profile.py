"""The profile: the page without JavaScript, and REST."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.pages import profile
from tests.integration.gateway.conftest import Account
from tests.integration.gateway.html import HTML, Page, submit

PATH = "/settings/profile"
REST = "/api/v1/auth/profile"


async def test_profile_is_saved_and_pages_follow(account: Account) -> None:
    page = Page(await account.http.get(PATH, headers=HTML))
    values = {"name": "Mina Okafor", "time_zone": "Asia/Kolkata", "theme": "dark"}
    answer = await submit(account.http, page, f"{PATH}/save", **values)
    assert (answer.status_code, answer.headers["location"]) == (303, PATH)
    saved = await account.http.get(PATH, headers=HTML)
    assert "Profile saved." in Page(saved).text
    assert '<html lang="en" data-theme="dark">' in saved.text
    assert '<meta name="color-scheme" content="dark">' in saved.text
    assert '<option value="Asia/Kolkata" selected>' in saved.text
    sessions = await account.http.get("/settings/sessions", headers=HTML)
    assert " IST</time>" in sessions.text
    assert ' UTC">' in sessions.text
    # Pages without a session have the theme of the user who signed in last.
    account.http.cookies.delete("session")
    assert 'data-theme="dark"' in (await account.http.get("/login", headers=HTML)).text
    assert 'data-theme="dark"' in (await account.http.get("/nowhere", headers=HTML)).text


async def test_zone_of_the_browser_is_used_until_one_is_chosen(account: Account) -> None:
    account.http.cookies.set("time_zone", "Asia/Tokyo")
    page = await account.http.get("/settings/sessions", headers=HTML)
    assert " JST</time>" in page.text
    assert "Same as this browser (Asia/Tokyo)" in (await account.http.get(PATH, headers=HTML)).text
    await account.http.patch(REST, json={"time_zone": "Europe/Berlin"})
    assert " CE" in (await account.http.get("/settings/sessions", headers=HTML)).text


@pytest.mark.parametrize("cookie", ["../../etc/passwd", "Europe/Nowhere", "x" * 3_000, "<b>"])
async def test_zone_that_does_not_exist_is_utc(account: Account, cookie: str) -> None:
    page = await account.http.get(
        "/settings/sessions", headers={**HTML, "Cookie": f"{_cookie(account)}; time_zone={cookie}"}
    )
    assert page.status_code == 200
    assert " UTC</time>" in page.text


@pytest.mark.parametrize(
    ("field", "value"), [("name", "x" * 101), ("name", "Mi\u202ena"), ("time_zone", "Mars/Olympus"), ("theme", "red")]
)
async def test_mistake_stands_at_its_field(account: Account, field: str, value: str) -> None:
    page = Page(await account.http.get(PATH, headers=HTML))
    fields = {"name": "Mina", "time_zone": "", "theme": "light", field: value}
    answer = await submit(account.http, page, f"{PATH}/save", **fields)
    assert answer.status_code == 422
    again = Page(answer)
    assert again.attributes[field]["aria-describedby"].endswith(f"{field}-error")
    assert f"{field}-error" in again.attributes
    rest = await account.http.patch(REST, json={field: value})
    assert rest.status_code == 422
    assert [error["field"].rpartition(".")[2] for error in rest.json()["errors"]] == [field]


async def test_rest_changes_only_the_given_fields(account: Account) -> None:
    first = (await account.http.get(REST)).json()
    assert first == {"email": account.email, "name": first["name"], "time_zone": None, "theme": "system"}
    changed = await account.http.patch(REST, json={"name": "Mina", "theme": "light"})
    assert changed.json() == {**first, "name": "Mina", "theme": "light"}
    assert (await account.http.get(REST)).json() == changed.json()
    me = (await account.http.get("/api/v1/auth/me")).json()
    assert (me["name"], me["time_zone"], me["theme"]) == ("Mina", None, "light")
    assert (await account.http.patch(REST, json={})).json() == changed.json()
    assert (await account.http.patch(REST, json={"role": "admin"})).status_code == 422


def test_zones_offer_the_chosen_one() -> None:
    assert profile.zones("")[0] == ("Universal", [("UTC", "UTC")])
    assert profile.zones("US/Eastern")[0] == ("Other", [("US/Eastern", "US/Eastern")])
    names = [name for _, cities in profile.zones("Europe/Berlin") for name, _ in cities]
    assert names.count("Europe/Berlin") == 1
    assert not any(Path(name).is_absolute() for name in names)


def _cookie(account: Account) -> str:
    return f"session={account.http.cookies['session']}"
