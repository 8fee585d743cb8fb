"""Changes of the email address: pages without JavaScript, and REST."""

from __future__ import annotations

import re
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest

from tests.integration.gateway.conftest import PASSWORD, Account
from tests.integration.gateway.html import HTML, Page, submit
from tests.mails import emails_to, text_of

SECURITY = "/settings/security"
REST = "/api/v1/auth/email/change"
Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]
Mailed = Callable[[str, str], Awaitable[str]]


@pytest.fixture
def mailed(mails: Path, eventually: Eventually) -> Mailed:
    """Wait for an email with a link to a page; return the link's path and query."""

    async def find(email: str, page: str) -> str:
        links: list[str] = []

        async def probe() -> bool:
            for mail in emails_to(mails, email):
                links.extend(re.findall(rf"https?://[^/\s]+(/{page}\?token=\S+)", text_of(mail)))
            return bool(links)

        await eventually(probe)
        return links[-1]

    return find


def new_email() -> str:
    return f"new-{secrets.token_hex(6)}@example.org"


async def request(account: Account, new: str) -> Page:
    page = Page(await account.http.get(SECURITY, headers=HTML))
    answer = await submit(account.http, page, f"{SECURITY}/change-email", email=new)
    assert answer.status_code == 303, answer.text
    return Page(await account.http.get(SECURITY, headers=HTML))


async def test_address_is_changed_by_the_link_to_the_new_one(account: Account, url: str, mailed: Mailed) -> None:
    new = new_email()
    pending = await request(account, new)
    assert "We sent a link to the new address." in pending.text
    assert f"Open the link that we sent to {new}" in pending.text
    async with httpx.AsyncClient(base_url=url, headers=HTML, timeout=60.0) as browser:
        response = await browser.get(await mailed(new, "confirm-email"))
        assert response.headers["referrer-policy"] == "no-referrer"
        assert (await account.http.get("/api/v1/auth/me")).json()["email"] == account.email
        page = Page(response)
        assert (await submit(browser, page, "/confirm-email")).status_code == 303
        again = await submit(browser, page, "/confirm-email")
        assert again.status_code == 422
        assert "invalid, expired or already used" in Page(again).text
    assert (await account.http.get("/api/v1/auth/me")).json()["email"] == new


async def test_old_address_undoes_the_change_and_every_device_is_signed_out(
    account: Account, url: str, mailed: Mailed
) -> None:
    await request(account, new_email())
    async with httpx.AsyncClient(base_url=url, headers=HTML, timeout=60.0) as browser:
        page = Page(await browser.get(await mailed(account.email, "revoke-email")))
        undone = await submit(browser, page, "/revoke-email")
        assert (undone.status_code, undone.headers["location"]) == (303, "/forgot-password")
        assert "Set a new password now." in (await browser.get("/forgot-password")).text
    assert (await account.http.get("/api/v1/auth/me")).status_code == 401


async def test_pending_change_is_cancelled(account: Account) -> None:
    pending = await request(account, new_email())
    assert (await submit(account.http, pending, f"{SECURITY}/cancel-email-change")).status_code == 303
    page = Page(await account.http.get(SECURITY, headers=HTML))
    assert "Change of address cancelled." in page.text
    assert f"{SECURITY}/cancel-email-change" not in page.forms


async def test_mistake_stands_at_its_field(account: Account) -> None:
    page = Page(await account.http.get(SECURITY, headers=HTML))
    for email, words in (("nobody", "Enter an email address"), (account.email, "This is already your address.")):
        answer = await submit(account.http, page, f"{SECURITY}/change-email", email=email)
        assert answer.status_code == 422
        again = Page(answer)
        assert words in again.text
        assert "email-error" in again.attributes
        assert again.attributes["email"]["value"] == email


async def test_rest_requests_cancels_confirms_and_revokes(account: Account, url: str, mailed: Mailed) -> None:
    first, second = new_email(), new_email()
    requested = await account.http.post(REST, json={"email": first})
    assert (requested.status_code, requested.json()["email"]) == (202, first)
    assert (await account.http.get("/api/v1/auth/security")).json()["email_change"] == requested.json()
    assert (await account.http.delete(REST)).status_code == 204
    assert (await account.http.get("/api/v1/auth/security")).json()["email_change"] is None
    await account.http.post(REST, json={"email": second})
    token = (await mailed(second, "confirm-email")).partition("token=")[2]
    async with httpx.AsyncClient(base_url=url, timeout=60.0) as anyone:
        assert (await anyone.post(f"{REST}/confirm", json={"token": token})).status_code == 204
        for path in ("confirm", "revoke"):
            response = await anyone.post(f"{REST}/{path}", json={"token": token})
            assert (response.status_code, response.json()["code"]) == (422, "token_invalid")
        login = await anyone.post("/api/v1/auth/login", json={"email": second, "password": PASSWORD})
        assert login.json()["user"]["email_verified"] is True
