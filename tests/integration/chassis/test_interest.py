"""Subscriptions that last as long as something needs them, over a real NATS and its failures."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import nats
import pytest
from nats.aio.client import Client

from chassis import bus, interest, run
from dev.embedded import Nats

Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]

SOON = 60.0


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for confirmations of a server that works: a busy machine confirms hundreds later than within a second."""
    monkeypatch.setattr(interest, "CONFIRM_SECONDS", SOON)


class Recorder:
    """Records the messages of an interest, and whether it was confirmed late."""

    def __init__(self) -> None:
        self.received: list[tuple[str, bytes]] = []
        self.late = asyncio.Event()

    def __call__(self, subject: str, payload: bytes) -> None:
        self.received.append((subject, payload))

    def has(self, *payloads: bytes) -> Callable[[], Awaitable[bool]]:
        async def check() -> bool:
            return {payload for _, payload in self.received} >= set(payloads)

        return check


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[bus.Bus]:
    """Run a bus, from its first connection on."""
    tested_bus = bus.Bus(url, name="test-interest")
    ready = asyncio.Event()
    tested_bus.on_connected(ready.set)
    async with run.Background() as background:
        background.start("bus", tested_bus.run)
        await asyncio.wait_for(ready.wait(), SOON)
        yield tested_bus


def client_of(tested_bus: bus.Bus) -> Client:
    """Return the client of a connected bus."""
    client = tested_bus._client
    assert client is not None
    return client


async def arrived(publisher: Client, tested_bus: bus.Bus) -> None:
    """Wait until everything published before has reached the bus: messages of one connection keep their order."""
    last = asyncio.Event()
    probe = tested_bus.interests.open(["test.last"], lambda subject, payload: last.set())
    while not await probe.wait():
        pass
    await publisher.publish("test.last", b"")
    await asyncio.wait_for(last.wait(), SOON)
    probe.close()


async def test_confirmed_interests_miss_nothing_and_share_their_round_trips(
    nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pings = 0
    send_ping = Client._send_ping

    async def counted(self: Client, future: asyncio.Future[bool] | None = None) -> None:
        nonlocal pings
        pings += 1
        await send_ping(self, future)

    publisher = await nats.connect(nats_url)
    async with connected(nats_url) as tested_bus:
        monkeypatch.setattr(Client, "_send_ping", counted)
        recorders = [Recorder() for _ in range(500)]

        async def follow(number: int) -> interest.Interest:
            opened = tested_bus.interests.open([f"test.*.{number}", f"other.{number}"], recorders[number])
            assert await opened.wait()
            await publisher.publish(f"test.a.{number}", b"first")
            await publisher.publish(f"other.{number}", b"second")
            return opened

        opened = await asyncio.gather(*map(follow, range(500)))
        assert pings < 10
        await arrived(publisher, tested_bus)
        assert [recorder.received for recorder in recorders] == [
            [(f"test.a.{number}", b"first"), (f"other.{number}", b"second")] for number in range(500)
        ]
        assert await opened[0].wait()
        assert tested_bus.interests.count == 500
    await publisher.close()


async def test_closed_interest_gets_no_more_messages_from_the_server(nats_url: str) -> None:
    publisher = await nats.connect(nats_url)
    async with connected(nats_url) as tested_bus:
        client, closed, still_open = client_of(tested_bus), Recorder(), Recorder()
        first = tested_bus.interests.open(["test.closed"], closed)
        second = tested_bus.interests.open(["test.kept"], still_open)
        assert await first.wait()
        assert await second.wait()
        first.close()
        first.close()
        # The confirmation of a later one covers the end of the first.
        assert await tested_bus.interests.open(["test.later"], still_open).wait()
        delivered = client.stats["in_msgs"]
        for _ in range(5):
            await publisher.publish("test.closed", b"x")
        await publisher.publish("test.kept", b"y")
        await arrived(publisher, tested_bus)
        # Beside it, the message of `arrived`.
        assert client.stats["in_msgs"] == delivered + 2
        assert closed.received == []
        assert still_open.received == [("test.kept", b"y")]
        never = tested_bus.interests.open(["test.never"], closed)
        never.close()
        assert tested_bus.interests.count == 2
    assert tested_bus.interests.count == 2
    await publisher.close()


async def test_failing_receiver_ends_neither_the_connection_nor_later_messages(nats_url: str) -> None:
    received = []

    def fail_once(subject: str, payload: bytes) -> None:
        received.append(payload)
        if len(received) == 1:
            raise ValueError("not decodable")

    publisher = await nats.connect(nats_url)
    async with connected(nats_url) as tested_bus:
        assert await tested_bus.interests.open(["test.failing"], fail_once).wait()
        for payload in (b"1", b"2"):
            await publisher.publish("test.failing", payload)
        await arrived(publisher, tested_bus)
        assert received == [b"1", b"2"]
        assert tested_bus.is_caught_up
    await publisher.close()


async def test_interests_survive_an_outage_and_begin_during_one(server: Nats, eventually: Eventually) -> None:
    before, during, after = Recorder(), Recorder(), Recorder()
    async with connected(server.url) as tested_bus:
        assert await tested_bus.interests.open(["test.before"], before).wait()
        closed = tested_bus.interests.open(["test.gone"], after)
        assert await closed.wait()
        reconnected = asyncio.Event()
        await asyncio.to_thread(server.kill)

        async def is_gone() -> bool:
            return not tested_bus.is_connected

        await eventually(is_gone)
        # Without a connection nobody waits.
        opened = tested_bus.interests.open(["test.during"], during, during.late.set)
        assert not await opened.wait()
        closed.close()
        tested_bus.on_connected(reconnected.set)
        await asyncio.to_thread(server.start)
        await asyncio.wait_for(reconnected.wait(), SOON)
        # Whatever `on_connected` reads from now on is followed by messages.
        assert await opened.wait()
        await asyncio.wait_for(during.late.wait(), SOON)
        for subject in ("test.before", "test.during", "test.gone"):
            await tested_bus.broadcast(subject, b"after")
        await eventually(before.has(b"after"))
        await eventually(during.has(b"after"))
        assert after.received == []


async def test_server_that_does_not_answer_delays_only_the_first(server: Nats, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()
    async with connected(server.url) as tested_bus:
        assert server.pid is not None
        os.kill(server.pid, signal.SIGSTOP)
        await asyncio.to_thread(os.waitid, os.P_PID, server.pid, os.WSTOPPED | os.WNOWAIT)
        try:
            monkeypatch.setattr(interest, "CONFIRM_SECONDS", 0.1)
            first = tested_bus.interests.open(["test.first"], recorder, recorder.late.set)
            assert not await first.wait()
            monkeypatch.setattr(interest, "CONFIRM_SECONDS", 0.0)
            second = tested_bus.interests.open(["test.second"], recorder)
            assert not await second.wait()
        finally:
            os.kill(server.pid, signal.SIGCONT)
        # What was missed until then has to be read.
        await asyncio.wait_for(recorder.late.wait(), SOON)
        monkeypatch.setattr(interest, "CONFIRM_SECONDS", SOON)
        while not await second.wait():
            pass
        await tested_bus.broadcast("test.first", b"x")
        await arrived(client_of(tested_bus), tested_bus)
        assert recorder.received == [("test.first", b"x")]


async def test_interests_begin_before_the_first_connection_and_come_back_after_the_last(nats_url: str) -> None:
    recorder, tested_bus = Recorder(), bus.Bus(nats_url, name="test-interest")
    opened = tested_bus.interests.open(["test.early"], recorder)
    assert not await opened.wait()
    for number in (1, 2):
        ready = asyncio.Event()
        tested_bus.on_connected(ready.set)
        running = asyncio.ensure_future(tested_bus.run())
        await asyncio.wait_for(ready.wait(), SOON)
        assert await opened.wait()
        await tested_bus.broadcast("test.early", b"x")
        await arrived(client_of(tested_bus), tested_bus)
        assert len(recorder.received) == number
        running.cancel()
        await asyncio.wait([running])
