"""The measurements: memory and time of opening, events to sockets, a reconnect storm, and a drain."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from bench.stream import process
from bench.stream.backend import owner, token
from bench.stream.readers import Crowd

WARM = 50
SETTLE_SECONDS = 3.0
MISSED_EVENTS = 2
Head = Callable[[int, int | None], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenStreams:
    """Open, idle streams."""

    count: int
    base: int
    """Resident bytes of the server before."""
    resident: int
    """Resident bytes of the server with all streams open."""
    seconds: float
    """Time to open them."""
    cpu: float
    """Processor seconds of the server for opening them."""

    @property
    def each(self) -> float:
        """Bytes per stream."""
        return (self.resident - self.base) / self.count


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """Sent events."""

    rate: float
    sent: int
    latencies: Sequence[float]
    """Seconds from before the publish to NATS until the reader has the event."""
    cpu: float
    """Share of a processor that the server used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Storm:
    """Readers that were cut and reconnected at once."""

    count: int
    missed: int
    seconds: float
    """Time until each had received every missed event."""
    wrong: int
    """Readers that did not receive exactly the missed events."""
    called: dict[str, int]
    """Calls to the services meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """Streams ended by a stopping server."""

    count: int
    clean: int
    """Streams that received `bye`, a retry time and a proper end."""
    spread: float
    """Seconds between the first and the last end."""
    exit: float
    """Seconds from the signal until the process had exited."""
    answered: bool
    """Whether a pending request got its response."""


def gateway_head(number: int, cursor: int | None) -> bytes:
    """Return the request of a reader of the gateway."""
    last = f"Last-Event-ID: {cursor}\r\n" if cursor is not None else ""
    head = "GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n"
    return f"{head}Cookie: session={token(number)}\r\n{last}\r\n".encode()


def peer_head(number: int, cursor: int | None) -> bytes:
    """Return the request of a reader of a peer."""
    return f"GET /events?user={owner(number)} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n".encode()


async def open_streams(running: process.Running, head: Head, count: int) -> tuple[Crowd, OpenStreams]:
    """Measure opening `count` streams of as many users."""
    warm = Crowd(running.port, head)
    await warm.open(WARM)
    await warm.cut()
    await asyncio.sleep(SETTLE_SECONDS)
    base, cpu = running.memory, running.cpu
    crowd = Crowd(running.port, head)
    seconds = await crowd.open(count)
    cpu = running.cpu - cpu
    await asyncio.sleep(SETTLE_SECONDS)
    return crowd, OpenStreams(count=count, base=base, resident=running.memory, seconds=seconds, cpu=cpu)


async def flow(
    environment: process.Surroundings,
    running: process.Running,
    crowd: Crowd,
    *,
    rate: float,
    seconds: float,
    peers: bool,
) -> Flow:
    """Measure events for the owners of all streams."""
    crowd.latencies = []
    cpu, began = running.cpu, time.perf_counter()
    arguments = {"owners": len(crowd.readers), "rate": rate, "seconds": seconds, "peers": peers}
    sent = (await asyncio.to_thread(environment.backend.do, "flow", **arguments))["sent"]
    cpu = (running.cpu - cpu) / (time.perf_counter() - began)
    deadline = time.perf_counter() + 10
    while len(crowd.latencies) < sent and time.perf_counter() < deadline:  # noqa: ASYNC110 - bounded by the clock
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.2)
    latencies, crowd.latencies = crowd.latencies, None
    return Flow(rate=rate, sent=sent, latencies=latencies, cpu=cpu)


async def storm(
    environment: process.Surroundings,
    running: process.Running,
    count: int,
    *,
    back_to: process.Running | None = None,
    fresh: AbstractContextManager[process.Running] | None = None,
) -> Storm:
    """Cut all readers, create events, and reconnect all readers at once.

    To another replica, if one is given; to one that is started after those things happened, if one is given to start.
    """
    crowd = Crowd(running.port, gateway_head)
    await crowd.open(count)
    numbers = list(range(count))
    await asyncio.to_thread(environment.backend.do, "each", numbers=numbers, times=1)
    await crowd.until(lambda: all(reader.received for reader in crowd.readers))
    cursors = [reader.cursor for reader in crowd.readers]
    await crowd.cut()
    missing = numbers[::2]
    await asyncio.to_thread(environment.backend.do, "each", numbers=missing, times=MISSED_EVENTS)
    await asyncio.to_thread(environment.backend.do, "calls")
    missed_events = len(missing) * MISSED_EVENTS
    with fresh or nullcontext(back_to or running) as target:
        back = Crowd(target.port, gateway_head)
        began = time.perf_counter()
        await back.open(count, cursors=cursors, at_once=count)
        await back.until(lambda: sum(len(reader.received) for reader in back.readers) >= missed_events)
        seconds = time.perf_counter() - began
        await back.cut()
    called = (await asyncio.to_thread(environment.backend.do, "calls"))["calls"]
    wrong = 0
    for number, reader in enumerate(back.readers):
        after = cursors[number] or 0
        wrong += reader.received != ([] if number % 2 else list(range(after + 1, after + MISSED_EVENTS + 1)))
    return Storm(count=count, missed=missed_events, seconds=seconds, wrong=wrong, called=called)


async def drain(running: process.Running, count: int) -> Drain:
    """Open streams and stop the server."""
    crowd = Crowd(running.port, gateway_head)
    await crowd.open(count)
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    body = b'{"email": "somebody@example.com"'
    head = b"POST /api/v1/auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: "
    writer.write(head + str(len(body) + 1).encode() + b"\r\n\r\n" + body)
    await asyncio.sleep(0.2)
    began = time.perf_counter()
    running.process.send_signal(signal.SIGTERM)
    await asyncio.sleep(0.5)
    writer.write(b"}")
    answer = await asyncio.wait_for(reader.readline(), 10)
    writer.close()
    await asyncio.to_thread(running.process.wait, process.STOP_SECONDS)
    elapsed = time.perf_counter() - began
    await crowd.until(lambda: all(stream.ended_at for stream in crowd.readers))
    ends = [stream.ended_at - began for stream in crowd.readers]
    clean = sum(stream.has_bye and stream.is_clean for stream in crowd.readers)
    return Drain(
        count=count, clean=clean, spread=max(ends) - min(ends), exit=elapsed, answered=answer.startswith(b"HTTP/1.1 ")
    )
