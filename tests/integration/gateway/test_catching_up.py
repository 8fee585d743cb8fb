"""Many streams during an outage of NATS: every transition reaches each of them, once and in order."""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import httpx
import pytest

from gateway.settings import Settings
from tests.integration.gateway.conftest import Account, gateway_serving
from tests.integration.gateway.nats_proxy import NatsProxy
from tests.integration.gateway.streaming import Stream, opened
from tests.integration.gateway.test_streams import SMALL

OWNERS = 12
STREAMS = 4
Register = Callable[..., Awaitable[Account]]


@pytest.fixture
async def nats_proxy(nats_url: str) -> AsyncIterator[tuple[NatsProxy, str]]:
    line = NatsProxy(nats_url)
    url = await line.open()
    yield line, url
    line.close()


async def transitions(stream: Stream, until: int) -> list[int]:
    """Return the sequences of the transitions up to `until`."""
    events = await stream.until(lambda event: event.name == "job" and event.id == until)
    return [event.id for event in events if event.name == "job" and event.id is not None]


async def post(account: Account, path: str, body: dict[str, object] | None = None) -> httpx.Response:
    """Post as the API documents it: 503 and 504 are repeated after `Retry-After` with the same `Idempotency-Key`."""
    headers = {"Idempotency-Key": secrets.token_hex(8)}
    async with asyncio.timeout(60):
        while (answer := await account.http.post(path, json=body, headers=headers)).status_code in {503, 504}:
            await asyncio.sleep(int(answer.headers["Retry-After"]))
    return answer


async def enable(account: Account) -> None:
    """Start a job of three transitions: pending, running, completed."""
    answer = await post(account, "/api/v1/demo/enable", {**SMALL})
    assert answer.status_code == 202, answer.text


async def disable(account: Account) -> httpx.Response:
    return await post(account, "/api/v1/demo/disable")


async def until_nats_is(http: httpx.AsyncClient, expected: bool) -> None:
    async with asyncio.timeout(60):
        while (await http.get("/readyz")).json()["nats"] is not expected:
            await asyncio.sleep(0.02)


# nats-py leaves the writer of a broken connection to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_all_streams_catch_up_automatically(
    gateway_settings: Callable[[], Settings], nats_proxy: tuple[NatsProxy, str], register: Register
) -> None:
    line, nats_url = nats_proxy
    async with (
        gateway_serving(dataclasses.replace(gateway_settings(), nats_url=nats_url)) as url,
        AsyncExitStack() as stack,
    ):
        accounts = [await register(url) for _ in range(OWNERS)]
        await until_nats_is(accounts[0].http, True)
        streams = [
            await stack.enter_async_context(opened(account.http)) for account in accounts for _ in range(STREAMS)
        ]
        line.cut()
        await until_nats_is(accounts[0].http, False)
        await asyncio.gather(*map(enable, accounts[: OWNERS // 2]))
        line.mend()
        await asyncio.gather(*map(enable, accounts[OWNERS // 2 :]))
        await until_nats_is(accounts[0].http, True)
        sequences = await asyncio.gather(*(transitions(stream, 3) for stream in streams))
        assert sequences == [[1, 2, 3]] * len(streams)

        # NATS is live again, and no check still in progress sends a transition twice.
        answers = await asyncio.gather(*map(disable, accounts))
        assert {answer.status_code for answer in answers} <= {202, 409}
        for account, answer in zip(accounts, answers, strict=True):
            if answer.status_code == 409:
                async with opened(account.http) as stream:
                    await stream.until(lambda event: event.name == "demo" and event.data["status"] == "enabled")
                assert (await disable(account)).status_code == 202
        sequences = await asyncio.gather(*(transitions(stream, 6) for stream in streams))
        assert sequences == [[4, 5, 6]] * len(streams)
