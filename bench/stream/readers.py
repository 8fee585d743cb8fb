"""Thousands of stream readers in one process, on raw sockets: each costs far less than what it measures."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
import time
from collections.abc import Callable, Sequence
from typing import cast

PER_ADDRESS = 10_000
"""Streams from one source address: the kernel has about 28,000 ports for one."""
AT_ONCE = 200
DEADLINE_SECONDS = 60.0
_SENT_AT = re.compile(rb'"message":\s*"(\d+)"')
_TRANSITION = re.compile(rb"id: (\d+)\nevent: job\n")
_RESET = struct.pack("ii", 1, 0)


class Reader(asyncio.Protocol):
    """One stream from request to end."""

    __slots__ = (
        "_buffer",
        "_crowd",
        "_head",
        "cursor",
        "ended_at",
        "has_bye",
        "is_clean",
        "is_open",
        "received",
        "transport",
    )

    def __init__(self, crowd: Crowd, head: bytes, cursor: int | None) -> None:
        self._crowd = crowd
        self._head = head
        self._buffer = b""
        self.cursor = cursor
        self.received: list[int] = []
        self.is_open = self.has_bye = self.is_clean = False
        self.ended_at = 0.0
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(self._head)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        if self._crowd.latencies is not None:
            self._crowd.latencies += [(now - int(sent_at)) / 1e9 for sent_at in _SENT_AT.findall(data)]
            return
        if not self.is_open:
            self._buffer += data
            if b"\r\n\r\n" not in self._buffer:
                return
            if not self._buffer.startswith(b"HTTP/1.1 200"):
                self._crowd.failures.append(self._buffer[:300].decode(errors="replace"))
                self.transport.close()
                return
            data, self._buffer = self._buffer, b""
            self.is_open = True
        for sequence in _TRANSITION.findall(data):
            self.received.append(int(sequence))
            self.cursor = self.received[-1]
        if b"event: bye" in data and b"retry: " in data:
            self.has_bye = True
        if data.endswith(b"0\r\n\r\n"):
            self.is_clean = True

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended_at = time.perf_counter()

    def cut(self) -> None:
        """Abort the connection, like a client whose process dies."""
        sock = self.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()


class Crowd:
    def __init__(self, port: int, head: Callable[[int, int | None], bytes]) -> None:
        self._port = port
        self._head = head
        self.readers: list[Reader] = []
        self.latencies: list[float] | None = None
        """Collects the age of each event. Meanwhile nothing else is parsed."""
        self.failures: list[str] = []

    async def open(self, count: int, *, cursors: Sequence[int | None] = (), at_once: int = AT_ONCE) -> float:
        """Open the streams of users 0 to `count` - 1. Return the seconds until all have started."""
        began = time.perf_counter()
        gate = asyncio.Semaphore(at_once)
        first = len(self.readers)

        async def connect(number: int) -> Reader:
            cursor = cursors[number] if cursors else None
            async with gate:
                return await self._connect(number, cursor)

        async with asyncio.timeout(DEADLINE_SECONDS):
            self.readers += await asyncio.gather(*(connect(number) for number in range(count)))
            await self.until(lambda: sum(reader.is_open for reader in self.readers[first:]) == count)
        return time.perf_counter() - began

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition` is true. Raises `TimeoutError`, or the error of a refused stream."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not condition():
                if self.failures:
                    raise ConnectionError(self.failures[0])
                await asyncio.sleep(0.01)

    async def cut(self) -> None:
        """Abort all connections at once."""
        for reader in self.readers:
            if not reader.ended_at:
                reader.cut()
        await self.until(lambda: all(reader.ended_at for reader in self.readers))

    async def _connect(self, number: int, cursor: int | None) -> Reader:
        source = f"127.0.0.{2 + number // PER_ADDRESS}"
        loop = asyncio.get_running_loop()
        head = self._head(number, cursor)
        for attempt in range(5):
            try:
                _, reader = await loop.create_connection(
                    lambda: Reader(self, head, cursor), "127.0.0.1", self._port, local_addr=(source, 0)
                )
            except OSError:
                if attempt == 4:
                    raise
                await asyncio.sleep(0.2)
            else:
                return reader
        raise AssertionError
