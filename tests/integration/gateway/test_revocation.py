"""Revoked sessions end at once on the revoking replica, by event on others, and with their streams."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httpx

from gateway.settings import Settings
from tests.integration.gateway.conftest import PASSWORD, Account, gateway_serving
from tests.integration.gateway.streaming import opened

TOGETHER = 10


async def token_of(account: Account) -> str:
    credentials = {"email": account.email, "password": PASSWORD}
    answer = await account.http.post("/api/v1/auth/token", json=credentials)
    token: str = answer.json()["token"]
    return token


async def test_requests_after_the_revocation_are_refused(account: Account) -> None:
    headers = {"Authorization": f"Bearer {await token_of(account)}"}
    async with httpx.AsyncClient(base_url=account.http.base_url, headers=headers) as device:
        listed = (await account.http.get("/api/v1/auth/sessions")).json()["sessions"]
        [other] = [login["session_id"] for login in listed if not login["current"]]
        is_over = asyncio.Event()

        async def ask() -> None:
            """Call without a pause, so that a validation is in flight when the session ends."""
            while True:
                began_after = is_over.is_set()
                status = (await device.get("/api/v1/auth/me")).status_code
                assert status in {200, 401}
                assert not (began_after and status == 200)
                if began_after:
                    return

        asking = [asyncio.ensure_future(ask()) for _ in range(TOGETHER)]
        assert (await account.http.delete(f"/api/v1/auth/sessions/{other}")).status_code == 204
        is_over.set()
        await asyncio.gather(*asking)


async def test_revocation_reaches_other_replicas_and_stays(
    account: Account, gateway_settings: Callable[..., Settings]
) -> None:
    headers = {"Authorization": f"Bearer {await token_of(account)}"}
    async with (
        gateway_serving(gateway_settings()) as other,
        httpx.AsyncClient(base_url=other, headers=headers) as there,
        opened(there) as stream,
    ):
        assert (await stream.next()) is not None
        answers: list[int] = []

        async def ask() -> None:
            while answers.count(401) < TOGETHER:
                answers.append((await there.get("/api/v1/auth/me")).status_code)

        async with asyncio.timeout(60):
            asking = asyncio.ensure_future(ask())
            revoked = await account.http.post("/api/v1/auth/sessions/revoke-all", json={"keep_current": True})
            assert revoked.status_code == 204
            await asking
        first = answers.index(401)
        assert set(answers[first:]) == {401}
        last = (await stream.rest())[-1]
        assert (last.name, last.data["reason"]) == ("bye", "session_expired")
        response = await there.get("/api/v1/events", headers={"Accept": "text/event-stream"})
        assert response.status_code == 401
    assert (await account.http.get("/api/v1/auth/me")).status_code == 200


async def test_disabling_an_account_closes_its_streams(account: Account, admin: httpx.AsyncClient) -> None:
    async with opened(account.http) as stream:
        assert (await stream.next()) is not None
        closed = await admin.post(f"/api/v1/admin/users/{account.user_id}/disable")
        assert closed.status_code == 200, closed.text
        assert closed.json()["user"]["disabled_at"]
        assert (await account.http.get("/api/v1/auth/me")).status_code == 401
        assert (await stream.rest())[-1].data == {"reason": "session_expired"}
