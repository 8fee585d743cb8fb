"""Polls for events: complete, without repetitions, and without needless waits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, LiteralString

import httpx
import psycopg
import pytest

from dev.embedded import EmbeddedServers
from gateway.settings import Settings
from gateway.stream import feed, hub, opening, places, replay_pace
from tests.acceptance import waiting
from tests.integration.gateway.conftest import Account, gateway_serving
from tests.integration.gateway.streaming import is_demo, opened
from tests.integration.gateway.test_streams import enable, enable_to_the_end

Register = Callable[..., Awaitable[Account]]
PATH = "/api/v1/events/poll"


async def poll(http: httpx.AsyncClient, *, after: str | None = None, wait: float = 20.0) -> dict[str, Any]:
    params: dict[str, Any] = {"wait": wait, **({"after": after} if after else {})}
    answer = await http.get(PATH, params=params, timeout=40)
    assert answer.status_code == 200, answer.text
    result: dict[str, Any] = answer.json()
    return result


async def polled(
    http: httpx.AsyncClient, last: Callable[[dict[str, Any]], bool], after: str | None
) -> list[dict[str, Any]]:
    """Poll from `after` until an event is the last one; every poll must resume where the previous one ended."""
    events: list[dict[str, Any]] = []
    async with asyncio.timeout(60):
        while not any(map(last, events)):
            result = await poll(http, after=after)
            assert result["resumed"] is True
            after = result["next"]
            events += result["events"]
    return events


def is_enabled(event: dict[str, Any]) -> bool:
    return event["event"] == "demo" and bool(event["data"]["status"] == "enabled")


async def settled(account: Account) -> None:
    """Return when demo mode is enabled and no event is under way."""
    async with opened(account.http) as stream:
        await stream.until(is_demo("enabled"))


async def test_polls_have_the_events_of_a_stream(account: Account) -> None:
    start = await poll(account.http)
    assert start["resumed"] is False
    assert [event["event"] for event in start["events"]] == ["demo"]
    job_id = await enable(account)
    events = await polled(account.http, is_enabled, start["next"])
    transitions = [event for event in events if event["id"] is not None]
    assert [event["id"] for event in transitions] == list(range(1, len(transitions) + 1))
    assert {event["data"]["job_id"] for event in transitions} == {job_id}


async def test_poll_resumes_after_any_event_on_any_replica(
    account: Account, gateway_settings: Callable[[], Settings]
) -> None:
    await enable_to_the_end(account)
    await settled(account)
    async with (
        gateway_serving(gateway_settings()) as other,
        httpx.AsyncClient(base_url=other, cookies=account.http.cookies) as elsewhere,
    ):
        for http in (account.http, elsewhere):
            for cursor in range(4):
                result = await poll(http, after=str(cursor), wait=0)
                assert result["resumed"] is True
                assert [event["id"] for event in result["events"] if event["id"]] == [1, 2, 3][cursor:]
                assert result["next"].startswith("3.")


async def test_poll_returns_many_missed_transitions_in_parts(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "MAX_POLLED", 2)
    await enable_to_the_end(account)
    await settled(account)
    first = await poll(account.http, after="0")
    assert ([event["id"] for event in first["events"]], first["resumed"]) == ([1, 2], True)
    rest = await poll(account.http, after=first["next"])
    assert [(event["event"], event["id"]) for event in rest["events"]] == [("job", 3), ("demo", None)]
    monkeypatch.setattr(opening, "MAX_REPLAY_BYTES", 1_000)
    large = await poll(account.http, after="0")
    assert [event["id"] for event in large["events"]] == [1]
    monkeypatch.setattr(hub, "MAX_STREAMS", 0)
    assert (await account.http.get(PATH, params={"after": "0"})).status_code == 503


async def test_replays_of_one_user_keep_a_pace_and_delay_no_other_user(
    register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    account, other = await register(), await register()
    monkeypatch.setattr(opening, "MAX_POLLED", 1)
    monkeypatch.setattr(feed, "MAX_RING_FRAMES", 1)
    for each in (account, other):
        await enable_to_the_end(each)
        await settled(each)
    # A poll reads three events, which take five minutes, and 200 s are free.
    monkeypatch.setattr(replay_pace, "EVENTS_PER_SECOND", 0.01)
    monkeypatch.setattr(replay_pace, "FREE_EVENTS", 2)
    monkeypatch.setattr(places, "MAX_WAIT_SECONDS", 0.1)
    assert (await poll(account.http, after="0"))["resumed"] is True
    for path, parameters in ((PATH, {"after": "0"}), ("/api/v1/events", {"last_event_id": "0"})):
        refused = await account.http.get(path, params=parameters)
        assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
    async with opened(other.http, header=0) as stream:
        hello, *_ = await stream.until(lambda event: event.name == "job")
    assert hello.data["resumed"] is True
    assert (await other.http.get(PATH, params={"after": "0"})).json()["code"] == "overloaded"


async def test_session_that_ends_while_missed_transitions_are_read_gets_none(
    account: Account,
    monkeypatch: pytest.MonkeyPatch,
    provisioned: EmbeddedServers,
    locked: Callable[[LiteralString], AbstractAsyncContextManager[None]],
) -> None:
    monkeypatch.setattr(opening, "MAX_POLLED", 2)
    await enable_to_the_end(account)
    await settled(account)
    async with locked("LOCK TABLE jobs.job_events IN ACCESS EXCLUSIVE MODE"):
        reading = asyncio.create_task(account.http.get(PATH, params={"after": "0"}))
        async with await psycopg.AsyncConnection.connect(provisioned.postgres.url, autocommit=True) as conn:

            async def reads() -> bool:
                waits = "SELECT FROM pg_locks WHERE NOT granted AND relation = 'jobs.job_events'::regclass"
                return await (await conn.execute(waits)).fetchone() is not None

            await waiting.until(reads, "the poll reads the transitions")
        assert (await account.http.post("/api/v1/auth/sessions/revoke-all")).status_code == 204
    answer = await reading
    assert (answer.status_code, answer.json()["code"]) == (401, "session_invalid")


async def test_poll_waits_only_without_new_events(account: Account) -> None:
    await enable_to_the_end(account)
    await settled(account)
    cursor = (await poll(account.http, after="3"))["next"]
    assert (await poll(account.http, after=cursor, wait=0))["events"] == []
    pending = asyncio.create_task(poll(account.http, after=cursor))
    await account.http.post("/api/v1/demo/disable")
    result = await pending
    assert result["events"]
    assert result["next"] != cursor
    job = await polled(account.http, lambda event: event["id"] == 6, "3")
    assert [event["id"] for event in job if event["id"]] == [4, 5, 6]
    # Demo mode has no sequence, and yet a poll with every transition gets its change.
    async with opened(account.http) as stream:
        await stream.until(is_demo("disabled"))
    late = await poll(account.http, after="6." + cursor.partition(".")[2])
    assert [(event["event"], event["data"]["status"]) for event in late["events"]] == [("demo", "disabled")]


@pytest.mark.parametrize(
    ("after", "reason"), [("7", "cursor_unknown"), ("x", "cursor_invalid"), ("-1", "cursor_invalid")]
)
async def test_an_unknown_cursor_is_a_reset(account: Account, after: str, reason: str) -> None:
    result = await poll(account.http, after=after)
    assert result["resumed"] is False
    assert {"id": 0, "event": "reset", "data": {"reason": reason}} in result["events"]
    assert result["next"].startswith("0.")


async def test_a_poll_ends_with_its_session_and_with_its_server(
    register: Register, gateway_settings: Callable[[], Settings]
) -> None:
    account = await register()
    cursor = (await poll(account.http))["next"]
    pending = asyncio.create_task(account.http.get(PATH, params={"after": cursor}, timeout=40))
    async with opened(account.http) as stream:
        await stream.next()
        token = dict(account.http.cookies)
        assert (await account.http.post("/api/v1/auth/sessions/revoke-all")).status_code == 204
    answer = await pending
    assert (answer.status_code, answer.json()["code"]) == (401, "session_invalid")
    async with httpx.AsyncClient(base_url=account.http.base_url, cookies=token) as signed_out:
        assert (await signed_out.get(PATH)).status_code == 401

    async with gateway_serving(gateway_settings()) as url:
        account = await register(url)
        cursor = (await poll(account.http))["next"]
        pending = asyncio.create_task(account.http.get(PATH, params={"after": cursor}, timeout=40))
        async with opened(account.http) as stream:
            await stream.next()
    assert (await pending).json() == {"resumed": True, "events": [], "next": cursor}
