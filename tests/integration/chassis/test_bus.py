"""Publishing and subscribing over a real NATS, and its failures."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import nats
import pytest
from nats.js.api import DiscardPolicy
from prometheus_client import REGISTRY

from chassis import bus, errors, run, streams
from dev.embedded import Nats

Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Nats]:
    """A separate NATS for tests that kill it."""
    engine = Nats(tmp_path, password="p")
    await asyncio.to_thread(engine.start)
    yield engine
    await asyncio.to_thread(engine.erase)


class Front:
    """A TCP proxy in front of NATS that aborts connections."""

    def __init__(self, server: Nats) -> None:
        self.port = 0
        self.aborts_at: bytes | None = None
        """A connection is aborted when its client sends this."""
        self.aborted = asyncio.Event()
        self._server = server

    async def __aenter__(self) -> Front:
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listener.close()

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        server, to_server = await asyncio.open_connection("127.0.0.1", self._server.port)
        replies = asyncio.create_task(self._forward(server, to_client))
        while data := await client.read(65_536):
            if self.aborts_at is not None and self.aborts_at in data:
                self.aborted.set()
                break
            to_server.write(data)
        replies.cancel()
        to_client.transport.abort()
        to_server.transport.abort()

    async def _forward(self, server: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        while data := await server.read(65_536):
            to_client.write(data)
        to_client.close()


class Recorder:
    """Records received messages; fails as often as configured."""

    def __init__(self, failures: int = 0) -> None:
        self.payloads: list[bytes] = []
        self.ids: list[str] = []
        self._failures = failures

    async def __call__(self, received: bus.Received) -> None:
        self.ids.append(received.message_id)
        if len(self.ids) <= self._failures:
            raise ConnectionError("the database does not answer")
        self.payloads.append(received.payload)

    def has(self, *payloads: bytes) -> Callable[[], Awaitable[bool]]:
        async def check() -> bool:
            return set(payloads) <= set(self.payloads)

        return check


def connected(tested_bus: bus.Bus) -> Callable[[], Awaitable[bool]]:
    """Whether the bus has a connection, its streams and its subscriptions."""
    ready = asyncio.Event()
    tested_bus.on_connected(ready.set)

    async def check() -> bool:
        return ready.is_set() and tested_bus.is_connected

    return check


@asynccontextmanager
async def running(tested_bus: bus.Bus, eventually: Eventually) -> AsyncIterator[Callable[[], Awaitable[bool]]]:
    """Run the bus. Wait until it is connected; yield the probe for that."""
    is_connected = connected(tested_bus)
    async with run.Background() as background:
        background.start("bus", tested_bus.run)
        await eventually(is_connected)
        yield is_connected


async def test_events_are_stored_and_delivered_with_their_id(server: Nats, eventually: Eventually) -> None:
    recorder, tested_bus = Recorder(), bus.Bus(server.url, name="test")
    tested_bus.owns_stream("jobs")
    tested_bus.consume("jobs", "demo", recorder)
    async with running(tested_bus, eventually):
        await tested_bus.publish("id-1", "jobs.events.owner", b"first")
        await eventually(recorder.has(b"first"))
    assert recorder.ids == ["id-1"]


async def test_is_caught_up_only_after_all_callbacks_of_a_reconnect(server: Nats, eventually: Eventually) -> None:
    tested_bus = bus.Bus(server.url, name="test")
    heard_already: list[bool] = []
    tested_bus.on_connected(lambda: heard_already.append(tested_bus.is_caught_up))

    def caught_up(connections: int) -> Callable[[], Awaitable[bool]]:
        async def check() -> bool:
            return len(heard_already) == connections and tested_bus.is_caught_up

        return check

    async with run.Background() as background:
        background.start("bus", tested_bus.run)
        await eventually(caught_up(1))
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(server.start)
        await eventually(caught_up(2))
    assert heard_already == [False, False]


async def test_the_same_event_published_twice_is_stored_once(server: Nats, eventually: Eventually) -> None:
    recorder, tested_bus = Recorder(), bus.Bus(server.url, name="test")
    tested_bus.owns_stream("jobs")
    tested_bus.consume("jobs", "demo", recorder)
    async with running(tested_bus, eventually):
        for message_id, payload in (("id-1", b"first"), ("id-1", b"first"), ("id-2", b"second")):
            await tested_bus.publish(message_id, "jobs.events.owner", payload)
        await eventually(recorder.has(b"second"))
    assert recorder.payloads == [b"first", b"second"]


async def test_stream_that_stores_nothing_is_counted(server: Nats, eventually: Eventually) -> None:
    tested_bus = bus.Bus(server.url, name="test")
    tested_bus.owns_stream("demo")
    is_connected = connected(tested_bus)

    def failures() -> float | None:
        return REGISTRY.get_sample_value("nats_stream_store_failures_total", {"stream": "DEMO"})

    before = failures()
    assert before is not None, "`rate` sees no increase in a counter that appears with its first event"
    async with run.Background() as background:
        background.start("bus", tested_bus.run)
        await eventually(is_connected)
        await tested_bus.publish("id-1", "demo.events.owner", b"stored")
        assert server.pid is not None
        os.kill(server.pid, signal.SIGSTOP)
        try:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await tested_bus.publish("id-2", "demo.events.owner", b"not answered")
        finally:
            os.kill(server.pid, signal.SIGCONT)
        client = await nats.connect(server.url)
        sealed = replace(streams.stream_config("demo", 1), sealed=True, discard=DiscardPolicy.NEW, max_age=0)
        await client.jetstream().update_stream(sealed)
        await client.close()
        with pytest.raises(Exception, match="sealed"):
            await tested_bus.publish("id-3", "demo.events.owner", b"refused")
    assert failures() == before + 2


async def test_event_of_a_failing_handler_is_redelivered(
    server: Nats, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus, "RETRY_SECONDS", (0.05,))
    recorder, tested_bus = Recorder(failures=3), bus.Bus(server.url, name="test")
    tested_bus.owns_stream("jobs")
    tested_bus.consume("jobs", "demo", recorder)
    async with running(tested_bus, eventually):
        await tested_bus.publish("id-1", "jobs.events.owner", b"first")
        await eventually(recorder.has(b"first"))
    assert recorder.ids == ["id-1"] * 4


async def test_message_that_always_fails_holds_up_no_others(
    server: Nats, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus, "RETRY_SECONDS", (0.05,))
    monkeypatch.setattr(bus, "MAX_FAILURES", 3)
    recorder, tested_bus = Recorder(), bus.Bus(server.url, name="test")

    async def handler(received: bus.Received) -> None:
        await recorder(received)
        if received.payload == b"poison":
            raise RuntimeError("it always fails")
        if received.payload == b"waits" and recorder.payloads.count(b"waits") < 6:
            raise errors.Unavailable("A dependency is down.")

    tested_bus.owns_stream("jobs")
    tested_bus.consume("jobs", "demo", handler)
    async with running(tested_bus, eventually):
        await tested_bus.publish("id-1", "jobs.events.owner", b"poison")
        await tested_bus.publish("id-2", "jobs.events.owner", b"waits")
        client = await nats.connect(server.url)
        js = client.jetstream()

        async def all_settled() -> bool:
            info = await js.consumer_info("JOBS", "demo")
            return (info.num_ack_pending, info.num_pending) == (0, 0) and len(recorder.payloads) >= 9

        await eventually(all_settled)
        await client.close()
    assert recorder.payloads.count(b"poison") == 3
    assert recorder.payloads.count(b"waits") == 6, "an outage of a dependency drops nothing"


async def test_undecodable_message_is_not_redelivered(
    server: Nats, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus, "RETRY_SECONDS", (0.05,))
    recorder, tested_bus = Recorder(), bus.Bus(server.url, name="test")

    async def handler(received: bus.Received) -> None:
        await recorder(received)
        if received.payload == b"garbage":
            raise bus.Undecodable("garbage")

    tested_bus.owns_stream("jobs")
    tested_bus.consume("jobs", "demo", handler)
    async with running(tested_bus, eventually):
        await tested_bus.publish("id-1", "jobs.events.owner", b"garbage")
        await tested_bus.publish("id-2", "jobs.events.owner", b"fine")
        await eventually(recorder.has(b"garbage", b"fine"))
        client = await nats.connect(server.url)
        js = client.jetstream()

        async def all_settled() -> bool:
            info = await js.consumer_info("JOBS", "demo")
            return (info.num_ack_pending, info.num_pending) == (0, 0)

        await eventually(all_settled)
        await client.close()
    assert recorder.ids == ["id-1", "id-2"]


async def test_bus_recovers_after_nats_was_killed(server: Nats, eventually: Eventually) -> None:
    recorder, ephemeral, tested_bus = Recorder(), Recorder(), bus.Bus(server.url, name="test")
    reconnects = 0

    def count() -> None:
        nonlocal reconnects
        reconnects += 1

    tested_bus.owns_stream("jobs")
    tested_bus.consume("jobs", "demo", recorder)
    tested_bus.subscribe("jobs.wake.x", ephemeral)
    tested_bus.on_connected(count)
    async with running(tested_bus, eventually) as is_connected:
        await asyncio.to_thread(server.kill)

        async def is_gone() -> bool:
            return not tested_bus.is_connected

        await eventually(is_gone)
        await tested_bus.publish_ephemeral("jobs.wake.x", b"without a subscriber")
        with pytest.raises(ConnectionError):
            await tested_bus.publish("id-1", "jobs.events.owner", b"first")
        await asyncio.to_thread(server.start)
        await eventually(is_connected)
        await tested_bus.publish("id-1", "jobs.events.owner", b"first")
        await tested_bus.publish_ephemeral("jobs.wake.x", b"ring")
        await eventually(recorder.has(b"first"))
        await eventually(ephemeral.has(b"ring"))
    assert reconnects == 2


async def test_bus_recreates_streams_of_a_nats_that_lost_its_store(
    server: Nats, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus, "_WATCH_SECONDS", 0.1)
    recorder, tested_bus = Recorder(), bus.Bus(server.url, name="test")
    tested_bus.owns_stream("jobs")
    tested_bus.consume("jobs", "demo", recorder)
    async with running(tested_bus, eventually):
        client = await nats.connect(server.url)
        await client.jetstream().delete_stream("JOBS")

        async def can_publish() -> bool:
            try:
                await tested_bus.publish(uuid4().hex, "jobs.events.owner", b"after")
            except Exception:  # noqa: BLE001 - any error means: not possible yet
                return False
            return True

        await eventually(can_publish)
        await eventually(recorder.has(b"after"))
        info = await client.jetstream().consumer_info("JOBS", "demo")
        await client.close()
    assert info.config.ack_wait == streams.consumer_config("jobs", "demo", (">",)).ack_wait


async def test_bus_may_start_before_nats(tmp_path: Path, eventually: Eventually) -> None:
    engine = Nats(tmp_path, password="p")
    recorder, tested_bus = Recorder(), bus.Bus(engine.url, name="test")
    tested_bus.subscribe("jobs.wake.x", recorder)
    is_connected = connected(tested_bus)
    async with run.Background() as background:
        background.start("bus", tested_bus.run)
        await asyncio.to_thread(engine.start)
        await eventually(is_connected)

        async def is_heard() -> bool:
            await tested_bus.publish_ephemeral("jobs.wake.x", b"ring")
            return b"ring" in recorder.payloads

        await eventually(is_heard)
    await asyncio.to_thread(engine.erase)


def connecting() -> list[asyncio.Task[object]]:
    """The tasks in which clients try to bring back a lost connection."""
    return [task for task in asyncio.all_tasks() if "_attempt_reconnect" in repr(task.get_coro())]


async def test_bus_replaces_a_client_that_does_not_reconnect(
    server: Nats, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus, "_WATCH_SECONDS", 0.1)
    monkeypatch.setattr(bus, "LOST_SECONDS", 0.5)
    recorder, ephemeral, tested_bus = Recorder(), Recorder(), bus.Bus(server.url, name="test")
    tested_bus.owns_stream("jobs")
    tested_bus.consume("jobs", "demo", recorder)
    tested_bus.subscribe("jobs.wake.x", ephemeral)
    async with running(tested_bus, eventually):
        await asyncio.to_thread(server.kill)

        async def is_trying() -> bool:
            return bool(connecting())

        await eventually(is_trying)
        for task in connecting():
            task.cancel()  # as an error that the client does not expect

        async def is_caught_up() -> bool:
            return tested_bus.is_caught_up

        await asyncio.to_thread(server.start)
        await eventually(is_caught_up)
        await tested_bus.publish("id-1", "jobs.events.owner", b"first")
        await tested_bus.publish_ephemeral("jobs.wake.x", b"ring")
        await eventually(recorder.has(b"first"))
        await eventually(ephemeral.has(b"ring"))


async def test_bus_connects_again_after_a_connection_that_was_lost_before_its_streams_were_checked(
    server: Nats, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus, "PUBLISH_TIMEOUT", 0.5)
    loop = f"bus-{uuid4().hex}"

    async def has_failed() -> bool:
        return bool(REGISTRY.get_sample_value("background_loop_failures_total", {"loop": loop}))

    async with Front(server) as front:
        front.aborts_at = b"$JS.API"
        tested_bus = bus.Bus(server.url.replace(str(server.port), str(front.port)), name="test")
        tested_bus.owns_stream("jobs")
        is_connected = connected(tested_bus)
        async with run.Background() as background:
            background.start(loop, tested_bus.run)
            await front.aborted.wait()
            front.aborts_at = b""  # new connections as well
            await eventually(has_failed)
            front.aborts_at = None
            await eventually(is_connected)
            await tested_bus.publish("id-1", "jobs.events.owner", b"first")


async def test_bus_that_ends_without_nats_leaves_no_tasks(server: Nats, eventually: Eventually) -> None:
    remaining: list[set[asyncio.Task[object]]] = []

    async def connect_and_end() -> None:
        tested_bus = bus.Bus(server.url, name="test")
        tested_bus.owns_stream("jobs")
        tested_bus.consume("jobs", "demo", Recorder())
        tested_bus.subscribe("jobs.wake.x", Recorder())

        async def is_lost() -> bool:
            return not tested_bus.is_connected

        async with running(tested_bus, eventually):
            await asyncio.to_thread(server.kill)
            await eventually(is_lost)
        if tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(tasks, timeout=2.0)
        remaining.append(asyncio.all_tasks() - {asyncio.current_task()})

    # In a thread: a subscriber of a closed connection would let nothing else run.
    thread = threading.Thread(target=lambda: asyncio.run(connect_and_end()), daemon=True)
    thread.start()
    await asyncio.to_thread(thread.join, 20.0)
    assert remaining == [set()]
