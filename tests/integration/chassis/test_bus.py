"""Events and ephemeral messages over a real NATS: published, stored, delivered, redelivered."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import replace

import nats
import pytest
from nats.js.api import DiscardPolicy
from prometheus_client import REGISTRY

from chassis import bus, deliveries, errors, run, streams
from dev.embedded import Nats
from tests.integration.chassis.bus_runner import Eventually, Recorder, connected, running


async def test_events_are_stored_and_delivered_with_their_id(server: Nats, eventually: Eventually) -> None:
    recorder, tested_bus = Recorder(), bus.Bus(server.url, name="test")
    tested_bus.owns_stream("jobs")
    tested_bus.consume("jobs", "demo", recorder)
    async with running(tested_bus, eventually):
        await tested_bus.publish("id-1", "jobs.events.owner", b"first")
        await eventually(recorder.has(b"first"))
    assert recorder.ids == ["id-1"]


async def test_polls_run_after_each_disconnect_and_reconnect(
    server: Nats, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus, "AWAY_SECONDS", 3_600.0)
    tested_bus = bus.Bus(server.url, name="test")
    caught_up: list[bool] = []

    async def poll() -> None:
        caught_up.append(tested_bus.is_caught_up)

    def polled(*, while_caught_up: bool) -> Callable[[], Awaitable[bool]]:
        async def check() -> bool:
            return caught_up[-1:] == [while_caught_up]

        return check

    async with run.Background() as background:
        background.start("bus", tested_bus.run)
        background.start("poll", lambda: tested_bus.every(3_600.0, poll))
        await eventually(polled(while_caught_up=True))
        await asyncio.to_thread(server.stop)
        await eventually(polled(while_caught_up=False))
        await asyncio.to_thread(server.start)
        await eventually(polled(while_caught_up=True))


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
        # On a busy machine its threads go on for a moment.
        await asyncio.to_thread(os.waitid, os.P_PID, server.pid, os.WSTOPPED | os.WNOWAIT)
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
    monkeypatch.setattr(deliveries, "RETRY_SECONDS", (0.05,))
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
    monkeypatch.setattr(deliveries, "RETRY_SECONDS", (0.05,))
    monkeypatch.setattr(deliveries, "MAX_FAILURES", 3)
    recorder, tested_bus = Recorder(), bus.Bus(server.url, name="test")

    async def handler(received: bus.Received) -> None:
        await recorder(received)
        if received.payload == b"poison":
            raise RuntimeError("it always fails")
        if received.payload == b"waits" and recorder.payloads.count(b"waits") < 6:
            raise errors.Unavailable("A dependency is down.")
        if received.payload == b"waits" and recorder.payloads.count(b"waits") == 6:
            raise RuntimeError("it fails once")

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
    assert recorder.payloads.count(b"waits") == 7, "deliveries during an outage of a dependency are no failures"


async def test_undecodable_message_is_not_redelivered(
    server: Nats, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "RETRY_SECONDS", (0.05,))
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
