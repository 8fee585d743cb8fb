"""Account pages without JavaScript: password, address, second factor, sessions."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import httpx
import pyotp
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.settings import Settings
from services.auth import __main__ as auth_service
from services.auth.settings import Settings as AuthSettings
from tests.integration.gateway.conftest import PASSWORD, Account, gateway_serving, serving
from tests.integration.gateway.html import HTML, Page, submit
from tests.mails import emails_to, text_of

SECURITY = "/settings/security"
NEW_PASSWORD = "marble-otter-kettle"
Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]


@pytest.fixture
async def browser(url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A browser without a session."""
    async with httpx.AsyncClient(base_url=url, headers=HTML, timeout=60.0) as client:
        yield client


@pytest.fixture
def mailed(mails: Path, eventually: Eventually) -> Callable[..., Awaitable[str]]:
    """Wait for emails with a link to a page; return the path and query of the newest."""

    async def find(email: str, page: str, times: int = 1) -> str:
        links: list[str] = []

        async def probe() -> bool:
            links.clear()
            for mail in emails_to(mails, email):
                links.extend(re.findall(rf"https?://[^/\s]+(/{page}\?token=\S+)", text_of(mail)))
            return len(links) == times

        await eventually(probe)
        return links[-1]

    return find


async def sign_in(browser: httpx.AsyncClient, email: str, password: str = PASSWORD, **more: str) -> httpx.Response:
    page = Page(await browser.get("/login"))
    return await submit(browser, page, "/login", email=email, password=password, **more)


async def probe(http: httpx.AsyncClient, path: str = SECURITY) -> Page:
    answer = await http.get(path, headers=HTML)
    assert answer.status_code == 200, answer.text
    return Page(answer)


async def test_forgotten_password_is_reset_by_email(
    browser: httpx.AsyncClient, account: Account, mailed: Callable[..., Awaitable[str]]
) -> None:
    forgot = Page(await browser.get("/forgot-password"))
    for_known = await submit(browser, forgot, "/forgot-password", email=account.email)
    unknown = await submit(browser, forgot, "/forgot-password", email="nobody-at-all@example.org")
    assert for_known.status_code == unknown.status_code == 202
    assert for_known.text.replace(account.email, "") == unknown.text.replace("nobody-at-all@example.org", "")
    link = await mailed(account.email, "reset-password")
    page = Page(await browser.get(link))
    short = await submit(browser, page, "/reset-password", password="short")
    assert short.status_code == 422
    assert short.headers["referrer-policy"] == "no-referrer"
    again = Page(short)
    assert again.attributes["password"]["aria-invalid"] == "true"
    done = await submit(browser, again, "/reset-password", password=NEW_PASSWORD)
    assert (done.status_code, done.headers["location"]) == (303, "/login")
    assert "session" not in browser.cookies
    assert (await account.http.get("/api/v1/auth/me")).status_code == 401
    used = await submit(browser, again, "/reset-password", password=NEW_PASSWORD)
    assert used.status_code == 422
    assert (await sign_in(browser, account.email)).status_code == 422
    assert (await sign_in(browser, account.email, NEW_PASSWORD)).status_code == 303


async def test_opening_a_link_verifies_nothing_and_a_click_does(
    browser: httpx.AsyncClient, account: Account, mailed: Callable[..., Awaitable[str]]
) -> None:
    page = await probe(account.http)
    assert "Not verified" in page.text
    response = await submit(account.http, page, f"{SECURITY}/verification")
    assert (response.status_code, response.headers["location"]) == (303, SECURITY)
    # One was sent automatically.
    link = await mailed(account.email, "verify-email", 2)
    for _ in range(2):
        form = Page(await browser.get(link))
    assert (await account.http.get("/api/v1/auth/security")).json()["user"]["email_verified"] is False
    assert (await submit(browser, form, "/verify-email")).status_code == 303
    assert "Not verified" not in (await probe(account.http)).text
    assert (await submit(browser, form, "/verify-email")).status_code == 422


async def test_second_factor_from_qr_code_to_the_next_sign_in(browser: httpx.AsyncClient, account: Account) -> None:
    http = account.http
    enrolment_page = await submit(http, await probe(http), f"{SECURITY}/totp")
    page = Page(enrolment_page)
    assert "<svg" in enrolment_page.text
    uri = page.forms[f"{SECURITY}/confirm-totp"]["uri"]
    app = pyotp.parse_uri(uri)
    assert isinstance(app, pyotp.TOTP)
    assert app.secret in page.text.replace(" ", "")
    wrong = await submit(http, page, f"{SECURITY}/confirm-totp", code="000000")
    assert wrong.status_code == 422
    again = Page(wrong)
    assert again.forms[f"{SECURITY}/confirm-totp"]["uri"] == uri
    forged = await submit(http, page, f"{SECURITY}/confirm-totp", code="000000", uri="javascript:alert(1)")
    assert "javascript:" not in forged.text
    before = http.cookies["session"]
    on = await submit(http, again, f"{SECURITY}/confirm-totp", code=app.now())
    assert on.status_code == 200
    assert http.cookies["session"] != before
    codes = re.findall(
        r"\b[a-z0-9]{4,}(?:-[a-z0-9]{4,})+\b",
        on.text.partition("<pre")[2].partition(">")[2].partition("</pre>")[0].lower(),
    )
    assert len(codes) == 10

    first = await sign_in(browser, account.email, remember="yes", next="/settings/sessions")
    assert (first.status_code, first.headers["location"]) == (303, "/login/code?next=/settings/sessions")
    assert "session" not in browser.cookies
    step = Page(await browser.get(first.headers["location"]))
    missed = await submit(browser, step, "/login/code", code="000000")
    assert (missed.status_code, "session" in browser.cookies) == (422, False)
    done = await submit(browser, Page(missed), "/login/code", code=codes[0].upper())
    assert (done.status_code, done.headers["location"]) == (303, "/settings/sessions")
    assert any(
        "max-age" in header.lower() and header.startswith("session=") for header in done.headers.get_list("set-cookie")
    )
    assert "challenge" not in browser.cookies
    page = await probe(browser)
    assert "9 recovery codes left" in page.text
    new = await submit(browser, page, f"{SECURITY}/recovery-codes")
    assert (new.status_code, codes[1] in new.text.lower()) == (200, False)


async def test_second_step_requires_the_first(browser: httpx.AsyncClient) -> None:
    assert (await browser.get("/login/code")).headers["location"] == "/login"
    page = Page(await browser.get("/login"))
    answer = await browser.post("/login/code", data={**page.forms["/login"], "code": "123456"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    assert "Sign in again" in Page(await browser.get("/login")).text


async def test_password_change_ends_other_sessions(account: Account, browser: httpx.AsyncClient) -> None:
    await sign_in(browser, account.email)
    page = await probe(account.http)
    wrong = await submit(
        account.http, page, f"{SECURITY}/password", current_password="wrong-wrong", new_password=NEW_PASSWORD
    )
    assert wrong.status_code == 422
    assert Page(wrong).attributes["current_password"]["aria-invalid"] == "true"
    before = account.http.cookies["session"]
    done = await submit(
        account.http, page, f"{SECURITY}/password", current_password=PASSWORD, new_password=NEW_PASSWORD
    )
    assert (done.status_code, done.headers["location"]) == (303, SECURITY)
    assert account.http.cookies["session"] != before
    assert (await browser.get("/settings/sessions")).status_code == 303
    assert "Password changed" in (await probe(account.http)).text


async def test_the_list_of_sessions_ends_each_of_them(account: Account, browser: httpx.AsyncClient) -> None:
    browser.headers["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0"
    await sign_in(browser, account.email)
    page = await probe(account.http, "/settings/sessions")
    assert "2 sessions" in page.text
    assert "Firefox on Linux" in page.text
    listed = (await account.http.get("/api/v1/auth/sessions")).json()["sessions"]
    other = next(login["session_id"] for login in listed if not login["current"])
    path = "/settings/sessions"
    response = await submit(account.http, page, f"{path}/revoke", session_id=other)
    assert (response.status_code, response.headers["location"]) == (303, path)
    assert (await browser.get(path)).headers["location"].startswith("/login")
    for nonsense in ("nonsense", "01990000-0000-7000-8000-000000000000"):
        answer = await submit(account.http, page, f"{path}/revoke", session_id=nonsense)
        assert (answer.status_code, answer.headers["location"]) == (303, path)
    await sign_in(browser, account.email)
    assert (await submit(account.http, page, f"{path}/revoke-others")).status_code == 303
    assert (await browser.get(path)).status_code == 303
    certificate = (await account.http.get("/api/v1/auth/sessions")).json()["sessions"][0]["session_id"]
    out = await submit(account.http, page, f"{path}/revoke", session_id=certificate)
    assert (out.headers["location"], "session" in account.http.cookies) == ("/login", False)


async def test_registration_names_all_invalid_fields_at_once(browser: httpx.AsyncClient) -> None:
    page = Page(await browser.get("/register"))
    fields = {"name": "\u202eMina", "email": "nobody", "password": "short"}
    answer = await submit(browser, page, "/register", **fields)
    shown_page = Page(answer)
    assert answer.status_code == 422
    assert {"name-error", "email-error", "password-error"} <= shown_page.attributes.keys()
    assert shown_page.forms["/register"]["email"] == "nobody"
    assert "short" not in answer.text
    problem = (await browser.post("/api/v1/auth/register", json=fields)).json()
    assert [each["field"] for each in problem["errors"]] == ["email", "name", "password"]


async def test_sign_in_after_a_session_has_ended_knows_the_address(
    account: Account, browser: httpx.AsyncClient
) -> None:
    await sign_in(browser, account.email)
    await browser.get("/settings/profile")
    await account.http.post("/api/v1/auth/sessions/revoke-all")
    response = await browser.get("/settings/profile")
    assert response.headers["location"].startswith("/login")
    assert Page(await browser.get("/login")).attributes["email"]["value"] == account.email

    await sign_in(browser, account.email)
    page = await probe(browser, "/settings/profile")
    await submit(browser, page, "/logout")
    assert Page(await browser.get("/login")).attributes["email"]["value"] == ""


async def test_registration_with_verification_sends_an_email(
    auth_settings: Callable[..., AuthSettings], gateway_settings: Callable[..., Settings], account: Account
) -> None:
    config = auth_settings(registration="verified")

    async with (
        serving(lambda stop: auth_service.serve(config, stop)),
        gateway_serving(gateway_settings(auth_target=config.listen)) as url,
        httpx.AsyncClient(base_url=url, headers=HTML, timeout=60.0) as browser,
    ):
        answers = []
        for email in (account.email, "not-there-yet@example.org"):
            page = Page(await browser.get("/register"))
            answer = await submit(browser, page, "/register", email=email, password=PASSWORD)
            assert (answer.status_code, "session" in browser.cookies) == (202, False)
            answers.append(answer.text.replace(email, ""))
            repeated = await browser.post("/api/v1/auth/register", json={"email": email, "password": PASSWORD})
            assert (repeated.status_code, list(repeated.json())) == (202, ["message"])
        assert answers[0] == answers[1]


async def test_old_account_without_a_verified_address_sees_what_to_do(
    account: Account, database: Callable[[str], AsyncEngine], gateway_settings: Callable[..., Settings]
) -> None:
    statement = "UPDATE auth.users SET created_at = created_at - :by WHERE email = :email"
    async with database("auth").begin() as conn:
        await conn.execute(sa.text(statement), {"by": timedelta(days=8), "email": account.email})
    async with gateway_serving(gateway_settings()) as url, httpx.AsyncClient(base_url=url) as http:
        http.cookies.set("session", account.http.cookies["session"])
        me = (await http.get("/api/v1/auth/me")).json()
        assert (me["can_access_dashboard"], me["redirect_path"]) == (False, SECURITY)
        assert "Verify your email address" in (await probe(http, "/dashboard")).text
        assert "and to see your dashboard" in (await probe(http)).text
        response = await http.get("/api/v1/metrics/dashboard")
        assert (response.status_code, response.json()["code"]) == (403, "email_unverified")
        assert (await http.get("/", headers=HTML)).headers["location"] == SECURITY
