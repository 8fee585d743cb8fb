"""Jobs that were accepted while the jobs service could not be told: nobody is told that they do not exist."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from functools import partial

import pytest

from chassis import ids
from dev import subprocesses
from gateway.settings import Settings
from services.demo import __main__ as demo_service
from services.demo.settings import Settings as DemoSettings

from .conftest import Account, gateway_serving, serving

Register = Callable[..., Awaitable[Account]]
Eventually = Callable[..., Awaitable[None]]


@pytest.fixture(scope="module")
async def far_url(
    gateway_settings: Callable[[], Settings],
    database_url: Callable[[str], str],
    identities: Callable[[str], dict[str, str]],
) -> AsyncIterator[str]:
    """A gateway whose demo service cannot reach the jobs service; the other demo service's relay submits in its place, later."""
    listen, nobody = (f"127.0.0.1:{subprocesses.free_port()}" for _ in range(2))
    config = DemoSettings(listen=listen, database_url=database_url("demo"), jobs_target=nobody, **identities("demo"))
    async with (
        serving(partial(demo_service.serve, config)),
        gateway_serving(replace(gateway_settings(), demo_target=listen)) as url,
    ):
        yield url


async def test_an_accepted_job_is_pending_until_it_arrives(
    far_url: str, register: Register, eventually: Eventually
) -> None:
    user = await register(far_url)
    accepted = await user.http.post("/api/v1/demo/enable", json={"content_count": 2, "interaction_count": 5})
    assert accepted.status_code == 202, accepted.text
    path = accepted.headers["location"]
    shown = await user.http.get(path)
    assert shown.status_code == 200, shown.text
    assert shown.json()["job_id"] == accepted.json()["job_id"]
    assert shown.json()["kind"] == "demo.enable"
    assert shown.json()["created_at"]

    async def completed() -> bool:
        return bool((await user.http.get(path)).json()["status"] == "completed")

    await eventually(completed)
    assert (await user.http.get(f"{path}/history")).json()["transitions"]


async def test_a_cancel_waits_for_the_job_that_it_cancels(
    far_url: str, register: Register, eventually: Eventually
) -> None:
    user = await register(far_url)
    wish = {"content_count": 1000, "interaction_count": 100_000}
    path = (await user.http.post("/api/v1/demo/enable", json=wish)).headers["location"]

    async def cancelled() -> bool:
        answer = await user.http.post(f"{path}/cancel")
        assert answer.status_code in {202, 503}, answer.text
        assert answer.status_code == 202 or answer.json()["code"] == "job_not_ready"
        return answer.status_code == 202

    await eventually(cancelled)


async def test_a_job_that_nobody_accepted_is_not_found(far_url: str, register: Register) -> None:
    user = await register(far_url)
    for ask in (f"/api/v1/jobs/{ids.uuid7()}", f"/api/v1/jobs/{ids.uuid7()}/history"):
        answer = await user.http.get(ask)
        assert (answer.status_code, answer.json()["code"]) == (404, "job_not_found")
