"""The preview of demo mode."""

from __future__ import annotations

import pytest

from tests.integration.gateway.conftest import Account
from tests.integration.gateway.html import Page, submit

PATH = "/settings/demo-mode"
PREVIEW = f"{PATH}/preview"


async def form(account: Account) -> Page:
    answer = await account.http.get(PATH, headers={"Accept": "text/html"})
    # The button for it stands in the form that enables.
    page = Page(answer)
    page.forms[PREVIEW] = page.forms[f"{PATH}/enable"]
    return page


@pytest.mark.parametrize(
    ("profile_type", "niche"), [("local_business", "food"), ("creator", "gaming"), ("auto", "auto")]
)
async def test_example_is_shown_and_form_values_stay(account: Account, profile_type: str, niche: str) -> None:
    options = {"profile_type": profile_type, "niche": niche, "interaction_count": "777"}
    answer = await submit(account.http, await form(account), PREVIEW, **options)
    assert answer.status_code == 200, answer.text
    page = Page(answer)
    for words in ("An example.", "Nothing was saved", "They publish", "People say"):
        assert words in page.text
    assert page.attributes["interaction_count"]["value"] == "777"
    again = await submit(account.http, page, f"{PATH}/enable", **options)
    assert again.status_code == 303
    status = (await account.http.get("/api/v1/demo/status")).json()
    assert status["stats"]["interactions"] == 777


async def test_preview_writes_nothing(account: Account) -> None:
    await submit(account.http, await form(account), PREVIEW, niche="food")
    status = (await account.http.get("/api/v1/demo/status")).json()
    assert (status["status"], status["job_id"]) == ("disabled", None)
    assert (await account.http.get("/api/v1/jobs")).json()["jobs"] == []


async def test_preview_shows_errors_instead(account: Account) -> None:
    page = await form(account)
    wrong = await submit(account.http, page, PREVIEW, niche="nonsense", interaction_count="many")
    assert (wrong.status_code, "Check these fields" in wrong.text) == (422, True)
    page.forms[PREVIEW].pop("form_token")
    assert (await submit(account.http, page, PREVIEW)).status_code == 403
