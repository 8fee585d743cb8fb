"""Reauthentication: required by sensitive calls, replaces the token, and the old token is invalid at once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import httpx
import pyotp
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.settings import Settings
from tests.integration.gateway.conftest import PASSWORD, Account, age_sessions, gateway_serving
from tests.integration.gateway.html import Page, submit
from tests.integration.gateway.streaming import opened

NEW_PASSWORD = "marble-otter-kettle"


async def age(database: Callable[[str], AsyncEngine], account: Account) -> None:
    """Move the last proof eleven minutes into the past."""
    await age_sessions(database("auth"), account.user_id, timedelta(minutes=11))


async def works(account: Account, token: str) -> bool:
    async with httpx.AsyncClient(base_url=account.http.base_url) as http:
        answer = await http.get("/api/v1/auth/me", headers={"Authorization": f"Bearer {token}"})
    return answer.status_code == 200


async def enrol(account: Account) -> tuple[pyotp.TOTP, list[str]]:
    """Enable the second factor; its confirmation code is used up."""
    secret = (await account.http.post("/api/v1/auth/totp")).json()["secret"]
    app = pyotp.TOTP(secret)
    answer = await account.http.post("/api/v1/auth/totp/confirm", json={"code": app.now()})
    assert answer.status_code == 200, answer.text
    return app, answer.json()["recovery_codes"]


async def test_proof_sets_a_new_token_in_the_cookie_and_not_in_the_body(
    account: Account, database: Callable[[str], AsyncEngine]
) -> None:
    before = account.http.cookies["session"]
    await age(database, account)
    for refused in (
        await account.http.post("/api/v1/auth/totp"),
        await account.http.post("/api/v1/auth/sessions/revoke-all", json={"keep_current": True}),
    ):
        assert (refused.status_code, refused.json()["code"]) == (403, "reauthentication_required")
    wrong = await account.http.post("/api/v1/auth/reauthenticate", json={"password": "wrong-wrong-wrong"})
    assert (wrong.status_code, wrong.json()["code"]) == (401, "invalid_credentials")
    assert "set-cookie" not in wrong.headers
    proved = await account.http.post("/api/v1/auth/reauthenticate", json={"password": PASSWORD})
    assert proved.status_code == 200
    after = account.http.cookies["session"]
    assert after != before
    assert set(proved.json()) == {"session"}
    assert after not in proved.text
    assert proved.json()["session"]["current"] is True
    assert not await works(account, before)
    assert (await account.http.post("/api/v1/auth/totp")).status_code == 200


async def test_bearer_client_gets_the_token_in_the_body_without_cookie(account: Account) -> None:
    credentials = {"email": account.email, "password": PASSWORD}
    cookie = account.http.cookies["session"]
    token = (await account.http.post("/api/v1/auth/token", json=credentials)).json()["token"]
    headers = {"Authorization": f"Bearer {token}"}
    # The cookie that comes along is another session, and stays as it is.
    proved = await account.http.post("/api/v1/auth/reauthenticate", json={"password": PASSWORD}, headers=headers)
    assert set(proved.json()) == {"session", "token", "expires_at"}
    assert "set-cookie" not in proved.headers
    assert account.http.cookies["session"] == cookie
    assert await works(account, proved.json()["token"])
    assert not await works(account, token)
    assert await works(account, cookie)


async def test_new_password_ends_other_sessions_on_this_replica_at_once(account: Account) -> None:
    token = (await account.http.post("/api/v1/auth/token", json={"email": account.email, "password": PASSWORD})).json()[
        "token"
    ]
    assert await works(account, token)
    changed = await account.http.post(
        "/api/v1/auth/password", json={"current_password": PASSWORD, "new_password": NEW_PASSWORD}
    )
    assert (changed.status_code, changed.json()["revoked_count"]) == (200, 1)
    assert not await works(account, token)
    assert (await account.http.get("/api/v1/auth/me")).status_code == 200
    short = await account.http.post(
        "/api/v1/auth/password", json={"current_password": NEW_PASSWORD, "new_password": "short"}
    )
    assert (short.status_code, short.json()["errors"][0]["field"]) == (422, "new_password")


async def test_sign_in_with_a_second_factor_requires_a_code(account: Account, url: str) -> None:
    before = account.http.cookies["session"]
    _, codes = await enrol(account)
    assert len(codes) == 10
    assert not await works(account, before)
    credentials = {"email": account.email, "password": PASSWORD}
    async with httpx.AsyncClient(base_url=url) as http:
        first_step = await http.post("/api/v1/auth/login", json={**credentials, "remember": True})
        assert (first_step.status_code, first_step.json()["status"]) == (202, "second_factor_required")
        assert "set-cookie" not in first_step.headers
        challenge = first_step.json()["challenge"]
        wrong = await http.post("/api/v1/auth/login/code", json={"challenge": challenge, "code": "000000"})
        assert (wrong.status_code, wrong.json()["code"]) == (401, "invalid_code")
        assert wrong.json()["errors"][0]["field"] == "code"
        # The challenge is no session.
        http.cookies.set("session", challenge)
        assert (await http.get("/api/v1/auth/me")).status_code == 401
        http.cookies.clear()
        done = await http.post("/api/v1/auth/login/code", json={"challenge": challenge, "code": codes[0]})
        assert (done.status_code, done.json()["session"]["remembered"]) == (200, True)
        assert "max-age" in done.headers["set-cookie"].lower()
        again = await http.post("/api/v1/auth/login/code", json={"challenge": challenge, "code": codes[1]})
        assert (again.status_code, again.json()["code"]) == (401, "challenge_invalid")
        token = await http.post("/api/v1/auth/token", json=credentials)
        assert (token.status_code, token.json()["code"]) == (401, "second_factor_required")
        token = await http.post("/api/v1/auth/token", json={**credentials, "code": codes[2]})
        assert token.status_code == 200
        at_once = await http.post("/api/v1/auth/login", json={**credentials, "code": codes[3]})
        assert at_once.status_code == 200
    security = (await account.http.get("/api/v1/auth/security")).json()
    assert (security["user"]["has_second_factor"], security["recovery_codes_left"]) == (True, 7)
    off = await account.http.post("/api/v1/auth/totp/disable", json={"code": codes[4]})
    assert off.status_code == 200
    assert set(off.json()) == {"session"}


async def test_streams_continue_over_a_token_rotation(
    account: Account, gateway_settings: Callable[..., Settings]
) -> None:
    cookies = dict(account.http.cookies)
    async with (
        gateway_serving(gateway_settings()) as other,
        httpx.AsyncClient(base_url=other, cookies=cookies) as there,
        opened(there) as far,
        opened(account.http) as near,
    ):
        assert (await account.http.post("/api/v1/auth/reauthenticate", json={"password": PASSWORD})).status_code == 200
        await account.http.post("/api/v1/demo/enable", json={"content_count": 1, "interaction_count": 1})
        for stream in (near, far):
            events = await stream.until(lambda event: event.name == "demo" and event.data["status"] == "enabled")
            assert "bye" not in {event.name for event in events}


async def test_pages_require_the_proof_and_redirect_back(
    account: Account, database: Callable[[str], AsyncEngine]
) -> None:
    http = account.http
    http.headers["Accept"] = "text/html"
    await age(database, account)
    page = Page(await http.get("/settings/sessions"))
    response = await submit(http, page, "/settings/sessions/revoke-all")
    assert (response.status_code, response.headers["location"]) == (303, "/reauthenticate?next=/settings/sessions")
    form = Page(await http.get(response.headers["location"]))
    before = http.cookies["session"]
    wrong = await submit(http, form, "/reauthenticate", password="wrong-wrong-wrong")
    assert wrong.status_code == 422
    proved = await submit(http, Page(wrong), "/reauthenticate", password=PASSWORD)
    assert (proved.status_code, proved.headers["location"]) == (303, "/settings/sessions")
    assert http.cookies["session"] != before
    page = Page(await http.get("/settings/sessions"))
    assert "Confirmed for 10 minutes." in page.text
    out = await submit(http, page, "/settings/sessions/revoke-all")
    assert (out.status_code, out.headers["location"]) == (303, "/login")
    assert out.headers["clear-site-data"] == '"cache", "storage"'
    assert "You're signed out on all devices." in Page(await http.get("/login")).text
