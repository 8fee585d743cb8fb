"""Jobs that were accepted while the jobs service was out of reach are shown as pending."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import ids
from dev import subprocesses
from gateway.settings import Settings
from services.auth import __main__ as auth_service
from services.auth.connections import platform_settings
from services.auth.settings import Settings as AuthSettings
from services.demo import __main__ as demo_service
from services.demo.settings import Settings as DemoSettings

from .conftest import PLATFORMS, Account, gateway_serving, serving

Register = Callable[..., Awaitable[Account]]
Eventually = Callable[..., Awaitable[None]]


@pytest.fixture(scope="module")
async def remote_url(
    gateway_settings: Callable[[], Settings],
    auth_settings: Callable[..., AuthSettings],
    database_url: Callable[[str], str],
    identities: Callable[[str], dict[str, Any]],
) -> AsyncIterator[str]:
    """Serve a gateway whose auth and demo services cannot reach the jobs service; the relays of other replicas submit, later."""
    listen, unused = (f"127.0.0.1:{subprocesses.free_port()}" for _ in range(2))
    demo = DemoSettings(listen=listen, database_url=database_url("demo"), jobs_target=unused, **identities("demo"))
    auth = auth_settings(jobs_target=unused)
    offered = platform_settings.read(PLATFORMS)
    settings = replace(gateway_settings(), demo_target=listen, auth_target=auth.listen)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(serving(partial(demo_service.serve, demo)))
        await stack.enter_async_context(serving(partial(auth_service.serve, auth, offered=offered)))
        yield await stack.enter_async_context(gateway_serving(settings))


async def test_an_accepted_demo_job_is_pending_until_it_is_submitted(
    remote_url: str, register: Register, eventually: Eventually
) -> None:
    user = await register(remote_url)
    accepted = await user.http.post("/api/v1/demo/enable", json={"content_count": 2, "interaction_count": 5})
    assert accepted.status_code == 202, accepted.text
    path = accepted.headers["location"]
    response = await user.http.get(path)
    assert response.status_code == 200, response.text
    assert response.json()["job_id"] == accepted.json()["job_id"]
    assert response.json()["kind"] == "demo.enable"
    assert response.json()["created_at"]

    async def completed() -> bool:
        return bool((await user.http.get(path)).json()["status"] == "completed")

    await eventually(completed)
    assert (await user.http.get(f"{path}/history")).json()["transitions"]


async def test_an_accepted_connect_job_is_pending_until_it_is_submitted(
    remote_url: str,
    register: Register,
    eventually: Eventually,
    database: Callable[[str], AsyncEngine],
    late_polls: timedelta,
) -> None:
    user = await register(remote_url)
    accepted = await user.http.post("/api/v1/connections/youtube/connect", json={"return_to": "/dashboard"})
    assert accepted.status_code == 202, accepted.text
    (state,) = parse_qs(urlsplit(accepted.json()["authorization_url"]).query)["state"]
    assert (await user.http.get("/api/v1/connections/youtube")).json()["job_id"] is None
    callback = await user.http.get("/api/v1/connections/youtube/callback", params={"state": state, "code": "code"})
    assert callback.status_code == 303, callback.text
    job_id = (await user.http.get("/api/v1/connections/youtube")).json()["job_id"]
    response = await user.http.get(f"/api/v1/jobs/{job_id}")
    assert response.status_code == 200, response.text
    assert (response.json()["job_id"], response.json()["kind"]) == (job_id, "auth.connect")
    assert (response.json()["status"], response.json()["version"]) == ("pending", 0)
    async with database("auth").begin() as conn:
        await conn.execute(sa.text("UPDATE auth.outbox SET send_after = now()"))

    async def submitted() -> bool:
        return (await user.http.get(f"/api/v1/jobs/{job_id}/history")).status_code == 200

    await eventually(submitted)
    assert (await user.http.get(f"/api/v1/jobs/{job_id}")).json()["version"] > 0


async def test_a_cancel_waits_until_its_job_is_submitted(
    remote_url: str, register: Register, eventually: Eventually
) -> None:
    user = await register(remote_url)
    options = {"content_count": 1000, "interaction_count": 100_000}
    path = (await user.http.post("/api/v1/demo/enable", json=options)).headers["location"]

    async def cancelled() -> bool:
        answer = await user.http.post(f"{path}/cancel")
        assert answer.status_code in {202, 503}, answer.text
        assert answer.status_code == 202 or answer.json()["code"] == "job_not_ready"
        return answer.status_code == 202

    await eventually(cancelled)


async def test_a_job_that_no_service_accepted_is_not_found(remote_url: str, register: Register) -> None:
    user = await register(remote_url)
    for path in (f"/api/v1/jobs/{ids.uuid7()}", f"/api/v1/jobs/{ids.uuid7()}/history"):
        answer = await user.http.get(path)
        assert (answer.status_code, answer.json()["code"]) == (404, "job_not_found")
