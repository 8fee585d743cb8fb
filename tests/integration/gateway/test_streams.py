"""Event streams: complete, in order, on any replica, with and without NATS."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from datetime import timedelta
from typing import LiteralString

import httpx
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from dev import subprocesses
from gateway.settings import Settings
from gateway.stream import feed, hub, opening, places
from tests.integration.gateway.conftest import Account, age_sessions, gateway_serving
from tests.integration.gateway.streaming import Event, is_demo, is_job, opened

SMALL = {"content_count": 5, "interaction_count": 40}
Register = Callable[..., Awaitable[Account]]


async def enable(account: Account) -> str:
    """Enable demo mode: a job of three transitions (pending, running, completed)."""
    answer = await account.http.post("/api/v1/demo/enable", json=SMALL)
    assert answer.status_code == 202, answer.text
    job_id: str = answer.json()["job_id"]
    return job_id


async def enable_to_the_end(account: Account) -> str:
    """Start such a job and wait until its last transition has reached the gateway, which may be after its end."""
    async with opened(account.http) as stream:
        job_id = await enable(account)
        await stream.until(is_job("completed"))
    return job_id


@pytest.fixture(scope="session")
async def offline_url(gateway_settings: Callable[[], Settings]) -> AsyncIterator[str]:
    """Serve a gateway without NATS."""
    nowhere = f"nats://127.0.0.1:{subprocesses.free_port()}"
    async with gateway_serving(dataclasses.replace(gateway_settings(), nats_url=nowhere)) as served:
        yield served


@pytest.fixture(params=["with NATS", "without NATS"])
async def any_url(request: pytest.FixtureRequest, url: str, offline_url: str) -> str:
    """Return the URL of a gateway with NATS, and of one without."""
    return url if request.param == "with NATS" else offline_url


async def test_a_stream_has_every_transition_once_and_in_order(any_url: str, register: Register) -> None:
    account = await register(any_url)
    async with opened(account.http) as stream:
        hello = await stream.next()
        assert hello is not None
        assert (hello.name, hello.id, hello.data["resumed"], hello.data["replayed"]) == ("hello", 0, False, 0)
        assert 1000 <= (stream.retry or 0) <= 3000
        first = await stream.next()
        assert first is not None
        assert (first.name, first.data["status"]) == ("demo", "disabled")

        job_id = await enable(account)
        events: list[Event] = []
        # NATS does not order the two, and without it each is found by its own check.
        while not (any(map(is_job("completed"), events)) and any(map(is_demo("enabled"), events))):
            event = await stream.next()
            assert event is not None
            events.append(event)
    transitions = [event for event in events if event.id is not None]
    assert [event.id for event in transitions] == [1, 2, 3]
    assert [event.data["status"] for event in transitions] == ["pending", "running", "completed"]
    assert {event.data["job_id"] for event in transitions} == {job_id}
    demo = [event.data for event in events if event.name == "demo"]
    assert [snapshot["version"] for snapshot in demo] == sorted({snapshot["version"] for snapshot in demo})
    assert demo[-1] == (await account.http.get("/api/v1/demo/status")).json()


async def test_a_reader_resumes_on_any_replica(any_url: str, register: Register) -> None:
    account = await register()
    await enable_to_the_end(account)
    async with httpx.AsyncClient(base_url=any_url, cookies=account.http.cookies) as elsewhere:
        for cursor in (0, 1, 2, 3):
            async with opened(elsewhere, header=cursor) as stream:
                hello, *events = await stream.until(is_demo("enabled"))
            assert (hello.data["resumed"], hello.data["replayed"], hello.id) == (True, 3 - cursor, cursor)
            assert [event.id for event in events if event.name == "job"] == [1, 2, 3][cursor:]


async def test_the_header_overrides_the_parameter(account: Account) -> None:
    await enable_to_the_end(account)
    async with opened(account.http, header=1, parameter=3) as stream:
        hello = await stream.next()
    assert hello is not None
    assert hello.data["replayed"] == 2
    async with opened(account.http, parameter=2) as stream:
        hello = await stream.next()
    assert hello is not None
    assert hello.data["replayed"] == 1


@pytest.mark.parametrize(
    ("cursor", "reason"),
    [
        (4, "cursor_unknown"),
        ("9" * 18, "cursor_unknown"),
        ("9" * 19, "cursor_invalid"),
        ("-1", "cursor_invalid"),
        ("1.5", "cursor_invalid"),
        ("%00", "cursor_invalid"),
        ("k3-1", "cursor_invalid"),
    ],
)
async def test_an_unknown_cursor_is_a_reset(account: Account, cursor: int | str, reason: str) -> None:
    await enable_to_the_end(account)
    async with opened(account.http, header=cursor) as stream:
        hello, reset, *events = await stream.until(is_demo("enabled"))
        assert hello.data["resumed"] is False
        assert (reset.name, reset.data) == ("reset", {"reason": reason})
        await account.http.post("/api/v1/demo/disable")
        events += await stream.until(is_job("pending"))
    assert reset.id == 3
    assert [event.id for event in events if event.name == "job" and event.id] == [4]


async def test_the_stream_of_a_job_ends_with_it(any_url: str, register: Register) -> None:
    account = await register(any_url)
    job_id = await enable(account)
    path = f"/api/v1/jobs/{job_id}/events"
    async with opened(account.http, path) as stream:
        events = await stream.rest()
    assert events[0].name == "hello"
    assert {event.name for event in events[1:]} == {"job"}
    assert events[-1].data["status"] == "completed"
    async with opened(account.http, path) as stream:
        _, job = await stream.rest()
    assert job.data == (await account.http.get(f"/api/v1/jobs/{job_id}")).json()
    async with opened(account.http, path, header=1) as stream:
        assert [event.id for event in await stream.rest()] == [1, 2, 3]
    async with opened(account.http, path, header=3) as stream:
        assert [event.name for event in await stream.rest()] == ["hello", "job"]


async def test_a_stream_without_cursor_starts_with_unfinished_jobs(account: Account) -> None:
    job_id = await enable(account)
    async with opened(account.http) as stream:
        events = await stream.until(lambda event: event.name == "job" and event.data["status"] == "completed")
    assert next(event.data["job_id"] for event in events if event.name == "job") == job_id
    ids = [event.id for event in events if event.id is not None]
    assert ids == list(range(ids[0], ids[-1] + 1))


async def test_a_stream_ends_with_its_session(any_url: str, register: Register) -> None:
    account = await register(any_url)
    async with opened(account.http) as stream:
        await stream.next()
        sessions = (await account.http.get("/api/v1/auth/sessions")).json()["sessions"]
        assert (await account.http.delete(f"/api/v1/auth/sessions/{sessions[0]['session_id']}")).status_code == 204
        assert (await stream.rest())[-1].data == {"reason": "session_expired"}
    assert (await account.http.get("/api/v1/auth/me")).status_code == 401


async def test_a_stream_ends_when_another_replica_revokes_its_session(
    gateway_settings: Callable[[], Settings], account: Account
) -> None:
    async with (
        gateway_serving(gateway_settings()) as other,
        httpx.AsyncClient(base_url=other, cookies=account.http.cookies) as elsewhere,
        opened(account.http) as stream,
    ):
        await stream.next()
        assert (await elsewhere.post("/api/v1/auth/sessions/revoke-all")).status_code == 204
        assert (await stream.rest())[-1].data == {"reason": "session_expired"}
        assert (await account.http.get("/api/v1/auth/me")).status_code == 401


async def test_what_an_open_page_requests_automatically_is_no_use_of_its_session(
    offline_url: str, register: Register, database: Callable[[str], AsyncEngine]
) -> None:
    # Without NATS no session is cached: each request asks auth.
    account = await register(offline_url)
    await age_sessions(database("auth"), account.user_id, timedelta(minutes=10))

    async def is_used() -> bool:
        query = (
            "SELECT last_seen_at > now() - interval '5 minutes' FROM auth.sessions WHERE user_id = CAST(:id AS uuid)"
        )
        async with database("auth").connect() as conn:
            return bool(await conn.scalar(sa.text(query), {"id": account.user_id}))

    async with opened(account.http) as stream:
        assert await stream.next() is not None
    await account.http.get("/api/v1/events/poll", params={"wait": 0})
    await account.http.get("/api/v1/auth/me", headers={"X-Background": "1"})
    assert not await is_used()
    await account.http.get("/api/v1/auth/me")
    assert await is_used()


async def test_the_oldest_of_too_many_streams_ends(account: Account) -> None:
    async with AsyncExitStack() as stack:
        oldest = await stack.enter_async_context(opened(account.http))
        second = await stack.enter_async_context(opened(account.http))
        for _ in range(hub.MAX_STREAMS_PER_USER - 1):
            newest = await stack.enter_async_context(opened(account.http))
        assert (await oldest.rest())[-1] == Event(name="bye", data={"reason": "too_many_streams"}, id=None)
        # A short retry would end the next oldest.
        assert (oldest.retry or 0) >= 30_000
        await enable(account)
        for stream in (second, newest):
            await stream.until(is_job("completed"))


async def test_openings_of_three_users_do_not_delay_those_of_another(
    gateway_settings: Callable[[], Settings],
    register: Register,
    locked: Callable[[LiteralString], AbstractAsyncContextManager[None]],
) -> None:
    async with gateway_serving(gateway_settings()) as url:
        other, *users = [await register(url) for _ in range(4)]
        # As many of each user as begin and wait, and one more.
        openings = places.MAX_BEGINNING_PER_USER + places.MAX_WAITING_PER_USER + 1
        assert openings * len(users) > places.MAX_BEGINNING
        # Their feeds are new, so the openings wait for what they have missed.
        async with locked("LOCK TABLE jobs.job_events IN ACCESS EXCLUSIVE MODE"):
            many = [
                asyncio.create_task(user.http.get("/api/v1/events", params={"last_event_id": "0"}))
                for user in users
                for _ in range(openings)
            ]
            answers = asyncio.as_completed(many)
            refused = [await next(answers) for _ in users]
            assert {answer.status_code for answer in refused} == {429}
            async with opened(other.http) as stream:
                assert (await stream.until(is_demo("disabled")))[0].name == "hello"
            for answer in many:
                answer.cancel()
            await asyncio.gather(*many, return_exceptions=True)


@pytest.mark.parametrize(("limit", "value"), [("MAX_REPLAY", 2), ("MAX_REPLAY_BYTES", 1_000)])
async def test_stream_that_has_missed_too_much_begins_with_a_reset(
    account: Account, gateway_settings: Callable[[], Settings], monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    monkeypatch.setattr(opening, limit, value)
    monkeypatch.setattr(feed, "MAX_RING_FRAMES", 1)
    await enable_to_the_end(account)
    async with (
        gateway_serving(gateway_settings()) as url,
        httpx.AsyncClient(base_url=url, cookies=account.http.cookies) as http,
    ):
        async with opened(http, header=0) as stream:
            hello, reset = await stream.next(), await stream.next()
        assert hello is not None
        assert (hello.id, hello.data["resumed"], hello.data["replayed"]) == (3, False, 0)
        assert reset == Event(name="reset", data={"reason": "cursor_too_old"}, id=3)
        async with opened(http, header=2) as stream:
            hello, last = await stream.until(lambda event: event.name == "job")
        assert (hello.data["resumed"], last.id) == (True, 3)


async def test_a_cursor_has_no_events_of_another_user(register: Register) -> None:
    account, other = await register(), await register()
    job_id = await enable_to_the_end(account)
    for cursor in (0, 1, 3):
        async with opened(other.http, header=cursor) as stream:
            first = [event for event in await stream.until(is_demo("disabled")) if event.name == "job"]
            own_job = await enable(other) if cursor == 0 else ""
            events = await stream.until(is_job("completed")) if own_job else []
        assert job_id not in {event.data["job_id"] for event in [*first, *events] if event.name == "job"}
        if cursor == 0:
            await other.http.post("/api/v1/demo/disable")
            await _until_disabled(other)
    response = await other.http.get(f"/api/v1/jobs/{job_id}/events", headers={"Last-Event-ID": "0"})
    assert (response.status_code, response.json()["code"]) == (404, "job_not_found")


async def _until_disabled(account: Account) -> None:
    async with opened(account.http) as stream:
        await stream.until(is_demo("disabled"))


async def test_a_stream_needs_an_accept_header_and_a_session(account: Account) -> None:
    response = await account.http.get("/api/v1/events", headers={"Accept": "application/json"})
    assert (response.status_code, response.json()["code"]) == (406, "not_acceptable")
    async with httpx.AsyncClient(base_url=account.http.base_url) as anonymous:
        assert (await anonymous.get("/api/v1/events")).status_code == 401


async def test_a_stopping_server_sends_bye(gateway_settings: Callable[[], Settings], register: Register) -> None:
    async with AsyncExitStack() as streams:
        async with gateway_serving(gateway_settings()) as url:
            account = await register(url)
            open_streams = [await streams.enter_async_context(opened(account.http)) for _ in range(5)]
        for stream in open_streams:
            assert (await stream.rest())[-1] == Event(name="bye", data={"reason": "draining"}, id=None)
