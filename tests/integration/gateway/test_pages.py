"""Pages: registration, sign-in, sign-out, headers, errors. Demo mode has separate tests."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest

from tests.integration.gateway.conftest import PASSWORD, Account
from tests.integration.gateway.html import Page, submit

HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
HOSTILE = "</title><script>alert('x')</script>&\"'<b>"
Register = Callable[..., Awaitable[Account]]


@pytest.fixture
async def browser(url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A browser without a session."""
    async with httpx.AsyncClient(base_url=url, headers=HTML, timeout=60.0) as client:
        yield client


def new_email() -> str:
    return f"{secrets.token_hex(8)}@example.org"


async def sign_up(browser: httpx.AsyncClient, **values: str) -> httpx.Response:
    page = Page(await browser.get("/register"))
    return await submit(browser, page, "/register", **{"email": new_email(), "password": PASSWORD, **values})


def place(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.headers["location"]


async def test_register_sign_out_and_sign_in(browser: httpx.AsyncClient) -> None:
    assert {"/login", "/register"} <= set(Page(await browser.get("/")).links)
    response = await sign_up(browser, name="Mina Okafor")
    assert place(response) == (303, "/settings/demo-mode")
    page = Page(await browser.get("/settings/demo-mode"))
    assert "Signed in as Mina Okafor" in page.text
    assert place(await browser.get("/")) == (303, "/settings/demo-mode")
    assert place(await browser.get("/login")) == (303, "/settings/demo-mode")
    assert place(await browser.get("/register?next=/dashboard")) == (303, "/dashboard")

    token = browser.cookies["session"]
    left = await submit(browser, page, "/logout")
    assert place(left) == (303, "/login")
    assert "session" not in browser.cookies
    assert "You're signed out." in Page(await browser.get("/login")).text
    assert "You're signed out." not in Page(await browser.get("/login")).text
    me = await browser.get("/api/v1/auth/me", headers={"Authorization": f"Bearer {token}"})
    assert me.status_code == 401
    assert place(await browser.post("/logout")) == (303, "/login")


async def test_sign_in_redirects_to_the_requested_page(browser: httpx.AsyncClient, account: Account) -> None:
    redirect = await browser.get("/settings/demo-mode?confirm=disable")
    assert place(redirect) == (303, "/login?next=/settings/demo-mode%3Fconfirm%3Ddisable")
    page = Page(await browser.get(redirect.headers["location"]))
    wrong = await submit(browser, page, "/login", email=account.email, password="not the password")
    assert wrong.status_code == 422
    again = Page(wrong)
    assert "Email address or password is incorrect." in again.text
    assert {name: text for name, text in again.forms["/login"].items() if name != "form_token"} == {
        "next": "/settings/demo-mode?confirm=disable",
        "email": account.email,
        "password": "",
    }
    unknown = await submit(browser, page, "/login", email=new_email(), password="not the password")
    assert unknown.status_code == 422
    right = await submit(browser, again, "/login", password=PASSWORD)
    assert place(right) == (303, "/settings/demo-mode?confirm=disable")
    assert (await browser.get("/settings/demo-mode")).status_code == 200


@pytest.mark.parametrize(
    "target",
    ["https://evil.example", "//evil.example", "/\\evil.example", "/\t/evil.example", "\x00", "javascript:alert(1)"],
)
async def test_sign_in_never_redirects_to_another_site(
    browser: httpx.AsyncClient, account: Account, target: str
) -> None:
    page = Page(await browser.get("/login", params={"next": target}))
    assert page.forms["/login"]["next"] == ""
    response = await submit(browser, page, "/login", email=account.email, password=PASSWORD, next=target)
    assert place(response) == (303, "/settings/demo-mode")
    assert place(await browser.get("/login", params={"next": target})) == (303, "/settings/demo-mode")


async def test_registration_errors_are_shown_beside_the_field(browser: httpx.AsyncClient, account: Account) -> None:
    short = await sign_up(browser, name=HOSTILE, password="short")
    assert short.status_code == 422
    page = Page(short)
    assert "Use 10 to 128 characters." in page.text
    assert page.attributes["password"]["aria-invalid"] == "true"
    assert page.attributes["password"]["aria-describedby"] == "password-hint password-error"
    assert page.attributes["name"]["value"] == HOSTILE
    assert "<script>alert" not in short.text
    assert "short" not in page.attributes["password"].values()

    response = await sign_up(browser, email=account.email)
    assert response.status_code == 422
    assert "email-error" in Page(response).attributes
    empty = await submit(browser, Page(response), "/register", email="", password="", name="")
    assert empty.status_code == 422
    assert (await browser.post("/login", json={"email": account.email})).status_code == 403


async def test_guessing_passwords_is_throttled(browser: httpx.AsyncClient, account: Account) -> None:
    page = Page(await browser.get("/login"))
    for _ in range(10):
        await submit(browser, page, "/login", email=account.email, password="not the password")
    answer = await submit(browser, page, "/login", email=account.email, password=PASSWORD)
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 0
    assert "Try again in" in Page(answer).text


@pytest.mark.parametrize("path", ["/dashboard", "/settings/demo-mode"])
async def test_names_of_users_are_escaped(browser: httpx.AsyncClient, path: str) -> None:
    await sign_up(browser, name=HOSTILE)
    answer = await browser.get(path)
    assert f"Signed in as {HOSTILE}" in Page(answer).text
    assert "<script>alert" not in answer.text


async def test_headers_of_pages(browser: httpx.AsyncClient) -> None:
    login = await browser.get("/login")
    await sign_up(browser)
    for answer in (login, await browser.get("/dashboard"), await browser.get("/nothing")):
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-security-policy"].startswith("default-src 'self'; img-src 'self' data:;")
        assert answer.headers["x-frame-options"] == "DENY"
        # Nothing that the policy would stop.
        assert " style=" not in answer.text
        assert " onclick=" not in answer.text
        assert "<script>" not in answer.text


async def test_errors_are_pages_for_browsers_and_problems_for_clients(browser: httpx.AsyncClient) -> None:
    lost = await browser.get(f"/no{HOSTILE}where")
    assert lost.status_code == 404
    assert "Page not found" in Page(lost).text
    assert lost.headers["x-request-id"] in Page(lost).text
    assert "<script>alert" not in lost.text
    without_pages = {"Accept": "application/json, text/html;q=0"}
    for path, headers in (
        ("/nowhere", {"Accept": "application/json"}),
        ("/nowhere", without_pages),
        ("/api/v1/nowhere", HTML),
    ):
        answer = await browser.get(path, headers=headers)
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    response = await browser.post("/dashboard", headers=HTML)
    assert (response.status_code, set(response.headers["allow"].split(", "))) == (405, {"GET", "HEAD"})
    typed = await browser.get("/logout")
    assert (typed.status_code, typed.headers["location"]) == (303, "/login")
    large = await browser.post("/login", data={"email": "a" * 70_000})
    assert (large.status_code, "This is too large" in Page(large).text) == (413, True)


async def test_forms_of_other_sites_are_refused(browser: httpx.AsyncClient, account: Account) -> None:
    credentials = {"email": account.email, "password": PASSWORD}
    for foreign in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}):
        answer = await browser.post("/login", data=credentials, headers=foreign)
        assert answer.status_code == 403
        assert "You don't have access to this" in Page(answer).text
        assert "set-cookie" not in answer.headers
    assert (await account.http.post("/logout", headers={"Sec-Fetch-Site": "cross-site"})).status_code == 403
    assert (await account.http.get("/api/v1/auth/me")).status_code == 200


async def test_ended_session_redirects_to_login_with_the_reason(browser: httpx.AsyncClient, account: Account) -> None:
    browser.cookies.update(account.http.cookies)
    assert (await browser.get("/dashboard")).status_code == 200
    await account.http.post("/api/v1/auth/logout")
    response = await browser.post("/settings/demo-mode/enable", data={})
    assert place(response) == (303, "/login?next=/settings/demo-mode")
    assert "session" not in browser.cookies
    assert "Your session has ended." in Page(await browser.get(response.headers["location"])).text
    # The module of an open page hears it as a status.
    fragment = await browser.get("/dashboard", headers={"X-Fragment": "status", "Accept": "*/*"})
    assert (fragment.status_code, fragment.json()["code"]) == (401, "unauthenticated")


async def test_flash_cookie_cannot_inject_a_message(browser: httpx.AsyncClient) -> None:
    answer = await browser.get("/login", headers={"Cookie": "flash=Send your password to evil.example"})
    assert "evil.example" not in answer.text
    assert (await browser.get("/login", headers={"Cookie": "flash=signed_out"})).text.count("re signed out.") == 1


async def test_error_pages_keep_the_navigation_for_signed_in_users(browser: httpx.AsyncClient) -> None:
    assert "/jobs" not in Page(await browser.get("/nowhere")).links
    await sign_up(browser)
    for answer in (await browser.get("/nowhere"), await browser.get("/jobs/nothing"), await browser.post("/dashboard")):
        page = Page(answer)
        assert answer.status_code in {404, 405}
        assert {"/dashboard", "/jobs", "/settings/demo-mode"} <= set(page.links)
        assert "/logout" in page.forms
        assert answer.headers["x-request-id"] in page.text


async def test_message_of_the_last_action_follows_the_title(browser: httpx.AsyncClient) -> None:
    await sign_up(browser)
    page = Page(await browser.get("/settings/profile"))
    await submit(browser, page, "/settings/profile/save", name="Mina")
    saved = await browser.get("/settings/profile")
    assert saved.text.index("<h1>Profile</h1>") < saved.text.index('id="flash"') < saved.text.index("<form class=")


async def test_strangers_try_the_demo_as_guests(browser: httpx.AsyncClient) -> None:
    front = Page(await browser.get("/"))
    assert "/try" in front.forms
    assert (await browser.post("/try", data={"form_token": "forged"})).status_code == 403
    response = await submit(browser, front, "/try")
    assert place(response) == (303, "/dashboard")
    dashboard = Page(await browser.get("/dashboard"))
    assert "You are trying Repruv as a guest." in dashboard.text and "Demo Mode Setting Up" in dashboard.text
    me = (await browser.get("/api/v1/auth/me")).json()
    assert me["role"] == "guest"
    profile = Page(await browser.get("/settings/profile"))
    assert not [link for link in profile.links if link in ("/settings/tokens", "/settings/security", "/settings/data")]
    # The address of a guest is made up: no form shows it.
    assert "email" not in browser.cookies
    for path in ("tokens", "connections", "data", "exports", "security", "delete-account", "notifications"):
        sent_away = await browser.get(f"/settings/{path}")
        assert place(sent_away) == (303, "/register"), path
    assert "Create an account first." in Page(await browser.get("/register")).text
    page = Page(await browser.get("/settings/demo-mode"))
    assert "Keep my account" not in page.text
    origin = {"Origin": str(browser.base_url).rstrip("/")}
    calls: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "exports", {}),
        ("POST", "auth/data-export", {}),
        ("POST", "auth/api-tokens", {"name": "Report", "scopes": ["read"]}),
        ("PATCH", "auth/notification-settings", {"page_notices": False}),
        ("POST", "connections/youtube/connect", {}),
    ]
    for method, path, body in calls:
        refusal = await browser.request(method, f"/api/v1/{path}", headers=origin, json=body)
        assert (path, refusal.status_code, refusal.json()["code"]) == (path, 403, "account_required")
    large = {"interaction_count": 20_001}
    refusal = await browser.post(
        "/api/v1/demo/enable", headers={"Origin": str(browser.base_url).rstrip("/")}, json=large
    )
    assert (refusal.status_code, refusal.json()["errors"][0]["field"]) == (422, "interaction_count")
    # A guest who registers starts with an account of their own.
    assert place(await sign_up(browser)) == (303, "/settings/demo-mode")
    assert (await browser.get("/api/v1/auth/me")).json()["role"] == "user"


async def test_guest_of_the_api(browser: httpx.AsyncClient) -> None:
    response = await browser.post("/api/v1/auth/guest")
    assert (response.status_code, response.json()["user"]["role"]) == (201, "guest")
    assert response.json()["user"]["deletion_at"]
    assert (await browser.get("/api/v1/auth/me")).json()["user_id"] == response.json()["user"]["user_id"]
