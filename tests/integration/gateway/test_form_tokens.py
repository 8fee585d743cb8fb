"""Cross-site requests: refused by origin, and by form token."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable

import httpx
import pytest

from tests.integration.gateway.conftest import PASSWORD, Account
from tests.integration.gateway.html import HTML, Page, submit

ORIGINS = {"ours": "", "bad": "https://evil.example", "null": "null", "absent": None}
SITES = ("same-origin", "same-site", "cross-site", "none", None)
TYPES = ("application/json", "application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x", None)


def _may_pass(origin: str, site: str | None, kind: str | None) -> bool:
    """Apply the rules of `gateway.middleware.same_origin` and `media_type`."""
    if site is not None and site not in {"same-origin", "none"}:
        return False
    if origin == "bad" or (origin == "null" and site is None):
        return False
    return kind in {"application/json", None}


async def test_every_cookie_caller_has_the_same_rule(account: Account, url: str) -> None:
    for (origin, value), site, kind in itertools.product(ORIGINS.items(), SITES, TYPES):
        headers = {
            **({"Origin": value or url} if value is not None else {}),
            **({"Sec-Fetch-Site": site} if site else {}),
            **({"Content-Type": kind} if kind else {}),
        }
        body = b'{"keep_current":true}' if kind else b""
        for path in ("/api/v1/demo/disable", "/api/v1/auth/login"):
            answer = await account.http.post(path, headers=headers, content=body)
            is_refused = (answer.status_code == 403 and answer.json()["code"] == "cross_site_request") or (
                answer.status_code == 415 and answer.json()["code"] == "unsupported_media_type"
            )
            assert is_refused != _may_pass(origin, site, kind), (path, origin, site, kind)


async def test_bearer_token_passes_and_its_cookie_is_ignored(account: Account, url: str) -> None:
    async with httpx.AsyncClient(base_url=url) as http:
        credentials = {"email": account.email, "password": PASSWORD}
        token = (await http.post("/api/v1/auth/token", json=credentials)).json()["token"]
    foreign = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    response = await account.http.post("/api/v1/demo/disable", headers={**foreign, "Authorization": f"Bearer {token}"})
    assert response.status_code == 409
    # A token that is none leaves the cookie unused all the same.
    wrong = await account.http.post("/api/v1/demo/disable", headers={**foreign, "Authorization": "Bearer nonsense"})
    assert wrong.status_code == 401
    # Any other scheme is no bearer token, and the cookie is what counts.
    basic = await account.http.post("/api/v1/demo/disable", headers={**foreign, "Authorization": "Basic eDp5"})
    assert basic.status_code == 403


async def test_body_without_a_content_type_is_refused(account: Account) -> None:
    response = await account.http.post("/api/v1/auth/sessions/revoke-all", content=b'{"keep_current":false}')
    assert (response.status_code, response.json()["code"]) == (415, "unsupported_media_type")
    assert "application/json" in response.json()["detail"]
    assert (await account.http.get("/api/v1/auth/me")).status_code == 200


FORMS = {
    "/dashboard": ("/logout",),
    "/settings/demo-mode": ("/settings/demo-mode/enable",),
    "/settings/security": (
        "/settings/security/password",
        "/settings/security/verification",
        "/settings/security/totp",
    ),
    "/settings/sessions": ("/settings/sessions/revoke", "/settings/sessions/revoke-all"),
    "/settings/connections": ("/settings/connections/connect",),
    "/reauthenticate": ("/reauthenticate",),
}


@pytest.mark.parametrize(("path", "action"), [(path, action) for path, actions in FORMS.items() for action in actions])
async def test_form_without_its_token_is_shown_again_without_effect(
    account: Account, register: Callable[..., Awaitable[Account]], path: str, action: str
) -> None:
    page = Page(await account.http.get(path, headers=HTML))
    assert action in page.forms, page.forms.keys()
    stranger = Page(await (await register()).http.get(path, headers=HTML))
    before = (await account.http.get("/api/v1/auth/security")).json()["events"]
    for token in ("", "x", stranger.forms[action]["form_token"]):
        answer = await account.http.post(action, data={**page.forms[action], "form_token": token}, headers=HTML)
        assert answer.status_code == 403
        again = Page(answer)
        assert "This form has expired" in again.text
        assert again.forms[action]["form_token"] == page.forms[action]["form_token"]
    assert (await account.http.get("/api/v1/auth/security")).json()["events"] == before
    assert (await account.http.get("/api/v1/auth/me")).status_code == 200
    assert (await account.http.get("/api/v1/demo/status")).json()["status"] == "disabled"


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("/login", {"password": PASSWORD}),
        ("/register", {"email": "somebody-new@example.org", "password": PASSWORD}),
        ("/forgot-password", {}),
        ("/reset-password", {"token": "t" * 43, "password": PASSWORD}),
        ("/verify-email", {"token": "t" * 43}),
        ("/confirm-email", {"token": "t" * 43}),
        ("/revoke-email", {"token": "t" * 43}),
    ],
)
async def test_a_form_before_sign_in_is_bound_to_its_browser(
    account: Account, url: str, path: str, sent: dict[str, str]
) -> None:
    filled = {"email": account.email, **sent}
    async with httpx.AsyncClient(base_url=url, headers=HTML) as browser, httpx.AsyncClient(base_url=url) as other:
        page, foreign = Page(await browser.get(path)), Page(await other.get(path))
        visit = browser.cookies["visit"]
        for token in ("", foreign.forms[path]["form_token"]):
            answer = await submit(browser, page, path, **{**filled, "form_token": token})
            assert answer.status_code == 403
            assert "This form has expired" in Page(answer).text
            assert "session" not in browser.cookies
            if "password" in filled:
                assert PASSWORD not in answer.text
        # Without the cookie, or with a forged one, no token is valid.
        for cookie, token in itertools.product(("", "a" * 32), ("", page.forms[path]["form_token"])):
            browser.cookies.clear()
            headers = {"Cookie": f"visit={cookie}"} if cookie else {}
            sent_anyway = {**page.forms[path], **filled, "form_token": token}
            answer = await browser.post(path, data=sent_anyway, headers=headers)
            assert answer.status_code == 403
        browser.cookies.clear()
        browser.cookies.set("visit", visit)
        assert (await submit(browser, page, path, **filled)).status_code != 403


async def test_visit_cookie_never_signs_in(account: Account, url: str) -> None:
    async with httpx.AsyncClient(base_url=url, headers=HTML) as http:
        planted = "planted-by-somebody-else-before-1"[:32]
        http.cookies.set("visit", planted)
        http.cookies.set("session", "planted-" * 6)
        page = Page(await http.get("/login"))
        http.cookies.delete("session")
        answer = await submit(http, page, "/login", email=account.email, password=PASSWORD)
        assert answer.status_code == 303
        assert "planted" not in http.cookies["session"]
        assert any(header.startswith('visit=""') for header in answer.headers.get_list("set-cookie"))
        for useless in (planted, "planted-" * 6):
            http.cookies.clear()
            http.cookies.set("session", useless)
            assert (await http.get("/api/v1/auth/me")).status_code == 401


@pytest.mark.parametrize("charset", ["utf-8", "undefined", "punycode"])
async def test_multipart_form_is_refused(charset: str, url: str) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="email"\r\n\r\nmina\r\n--x--'
    async with httpx.AsyncClient(base_url=url) as http:
        headers = {"Content-Type": f"multipart/form-data; boundary=x; charset={charset}"}
        response = await http.post("/login", content=body, headers=headers)
    assert (response.status_code, response.json()["code"]) == (415, "unsupported_media_type")
