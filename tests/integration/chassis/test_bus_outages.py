"""A bus whose NATS is killed, loses its store, starts late or drops connections."""

from __future__ import annotations

import asyncio
import shutil
import threading
from pathlib import Path
from typing import Any
from uuid import uuid4

import nats
import pytest
from nats.js.client import JetStreamContext
from nats.js.errors import NotFoundError, ServiceUnavailableError
from prometheus_client import REGISTRY

from chassis import bus, interest, run, streams
from dev.embedded import Nats
from tests.integration.chassis.bus_runner import Eventually, Recorder, connected, running


class Front:
    """A TCP proxy in front of NATS that aborts connections."""

    def __init__(self, server: Nats) -> None:
        self.port = 0
        self.aborts_at: bytes | None = None
        """A connection is aborted when its client sends this."""
        self.aborted = asyncio.Event()
        self.silent_connection = 0
        """The number of the connection whose client gets no answer after the first two."""
        self.connections = 0
        self._server = server

    async def __aenter__(self) -> Front:
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listener.close()

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        self.connections += 1
        server, to_server = await asyncio.open_connection("127.0.0.1", self._server.port)
        replies = asyncio.create_task(
            self._forward(server, to_client, is_silent=self.connections == self.silent_connection)
        )
        while data := await client.read(65_536):
            if self.aborts_at is not None and self.aborts_at in data:
                self.aborted.set()
                break
            to_server.write(data)
        replies.cancel()
        to_client.transport.abort()
        to_server.transport.abort()

    async def _forward(self, server: asyncio.StreamReader, to_client: asyncio.StreamWriter, *, is_silent: bool) -> None:
        answers = 0
        while data := await server.read(65_536):
            answers += data.count(b"PONG")
            if not is_silent or answers <= 2:
                to_client.write(data)
        to_client.close()


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
        await tested_bus.broadcast("jobs.wake.x", b"without a subscriber")
        with pytest.raises(ConnectionError):
            await tested_bus.publish("id-1", "jobs.events.owner", b"first")
        await asyncio.to_thread(server.start)
        await eventually(is_connected)
        await tested_bus.publish("id-1", "jobs.events.owner", b"first")
        await tested_bus.broadcast("jobs.wake.x", b"ring")
        await eventually(recorder.has(b"first"))
        await eventually(ephemeral.has(b"ring"))
    assert reconnects == 2


async def test_bus_recreates_consumers_of_a_nats_that_lost_its_store(
    tmp_path: Path, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus, "_WATCH_SECONDS", 0.1)
    monkeypatch.setattr(bus, "ENSURE_SECONDS", 3_600.0)
    engine = Nats(tmp_path, password="p")
    await asyncio.to_thread(engine.start)
    tested_bus = bus.Bus(engine.url, name="test")
    tested_bus.consume("jobs", "demo", Recorder())
    try:
        async with running(tested_bus, eventually):
            await asyncio.to_thread(engine.stop)
            shutil.rmtree(engine.home() / "jetstream")
            await asyncio.to_thread(engine.start)
            client = await nats.connect(engine.url)

            async def has_consumer() -> bool:
                try:
                    await client.jetstream().consumer_info("JOBS", "demo")
                except NotFoundError:
                    return False
                return True

            await eventually(has_consumer)
            await client.close()
    finally:
        await asyncio.to_thread(engine.erase)


async def test_bus_recreates_deleted_streams(
    server: Nats, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus, "_WATCH_SECONDS", 0.1)
    # The refused event is noticed, without waiting for the next look.
    monkeypatch.setattr(bus, "ENSURE_SECONDS", 3_600.0)
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


async def test_consumer_that_is_gone_is_not_asked_again_and_again(
    server: Nats, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus, "ENSURE_SECONDS", 3_600.0)
    monkeypatch.setattr(bus, "REFUSED_SECONDS", 3_600.0)
    refused = 0
    fetch = JetStreamContext.PullSubscription.fetch

    async def count_refused(*arguments: Any, **options: Any) -> Any:
        nonlocal refused
        try:
            return await fetch(*arguments, **options)
        except ServiceUnavailableError:
            refused += 1
            raise

    async def is_refused() -> bool:
        return refused > 0

    monkeypatch.setattr(JetStreamContext.PullSubscription, "fetch", count_refused)
    tested_bus = bus.Bus(server.url, name="test")
    tested_bus.owns_stream("jobs")
    tested_bus.consume("jobs", "demo", Recorder())
    async with running(tested_bus, eventually):
        client = await nats.connect(server.url)
        await client.jetstream().delete_consumer("JOBS", "demo")
        await eventually(is_refused)
        for _ in range(100):
            await client.flush()
        await client.close()
    assert refused == 1


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
            await tested_bus.broadcast("jobs.wake.x", b"ring")
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
        await tested_bus.broadcast("jobs.wake.x", b"ring")
        await eventually(recorder.has(b"first"))
        await eventually(ephemeral.has(b"ring"))


async def test_server_that_stops_answering_after_a_reconnect_leaves_no_connection_behind(
    server: Nats, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interest, "_ANSWER_SECONDS", 0.5)
    async with Front(server) as front:
        tested_bus = bus.Bus(server.url.replace(str(server.port), str(front.port)), name="test")

        async def is_caught_up() -> bool:
            return front.connections >= 3 and tested_bus.is_caught_up

        async with running(tested_bus, eventually):
            front.silent_connection = 2
            front.aborts_at = b"abort"
            await tested_bus.broadcast("test", b"abort")
            await front.aborted.wait()
            monkeypatch.undo()
            await eventually(is_caught_up)
            for name in ("_read_loop", "_flusher", "_ping_interval"):
                tasks = [task for task in asyncio.all_tasks() if f"Client.{name}" in repr(task.get_coro())]
                assert len(tasks) == 1, name


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
            monkeypatch.undo()
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
            await asyncio.wait(tasks, timeout=60.0)
        remaining.append(asyncio.all_tasks() - {asyncio.current_task()})

    # In a thread: a subscriber of a closed connection would let nothing else run.
    thread = threading.Thread(target=lambda: asyncio.run(connect_and_end()), daemon=True)
    thread.start()
    await asyncio.to_thread(thread.join, 200.0)
    assert remaining == [set()]
