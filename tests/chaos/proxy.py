"""A TCP proxy that disturbs the connections that pass through it: one for each replica and engine, all in one thread."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, Self

HOST = "127.0.0.1"
CHUNK = 65_536
COMMIT = b"COMMIT"
START_SECONDS = 30.0


@dataclass(slots=True, eq=False)
class Link:
    """One connection of a client and the one of the proxy to the server."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    is_doomed: bool = False
    """A COMMIT has passed: its reply is dropped."""

    def abort(self) -> None:
        """Reset both connections."""
        self.client.transport.abort()
        self.server.transport.abort()


@dataclass(slots=True, eq=False)
class Proxy:
    """Forwards connections to a local port. The fields are what it does to them; set them from any thread."""

    name: str
    target: int
    port: int = 0
    latency: float = 0.0
    """Seconds by which each chunk is late."""
    loss: float = 0.0
    """The share of chunks that arrive late by `retransmit` seconds, as after a lost packet."""
    retransmit: float = 0.3
    bytes_per_second: float = 0.0
    """0 is unlimited."""
    is_half_open: bool = False
    """Whether nothing passes, while connections stay open and new ones are accepted."""
    refuses: bool = False
    lost_commits: int = 0
    """The number of next COMMITs whose replies are lost."""
    links: set[Link] = field(default_factory=set)

    async def serve(self, client: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one connection until either end closes it."""
        try:
            if self.refuses:
                raise ConnectionRefusedError
            server, to_server = await asyncio.open_connection(HOST, self.target)
        except OSError:
            writer.transport.abort()
            return
        link = Link(writer, to_server)
        self.links.add(link)
        try:
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump(link, client, to_server, is_request=True))
                pumps.create_task(self._pump(link, server, writer, is_request=False))
        except* OSError:
            pass
        finally:
            self.links.discard(link)
            link.abort()

    async def _pump(
        self, link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_request: bool
    ) -> None:
        while data := await reader.read(CHUNK):
            await self._delay(len(data))
            if is_request and self.lost_commits > 0 and COMMIT in data:
                self.lost_commits -= 1
                link.is_doomed = True
            elif link.is_doomed and not is_request:
                link.abort()
                return
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()

    async def _delay(self, size: int) -> None:
        seconds = self.latency + (self.retransmit if random.random() < self.loss else 0.0)
        if self.bytes_per_second:
            seconds += size / self.bytes_per_second
        if seconds:
            await asyncio.sleep(seconds)
        while self.is_half_open:
            await asyncio.sleep(0.05)

    def reset(self) -> None:
        """Reset all connections."""
        for link in tuple(self.links):
            link.abort()

    def restore(self) -> None:
        """Stop disturbing connections."""
        self.latency = self.loss = self.bytes_per_second = 0.0
        self.is_half_open = self.refuses = False
        self.lost_commits = 0


class Proxies:
    """The proxies of a system; use as a context manager."""

    def __init__(self) -> None:
        self.all: dict[str, list[Proxy]] = {}
        """By the name of the part; one for each replica."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxies", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(START_SECONDS)
        self._loop.close()

    def front(self, name: str, port: int) -> int:
        """Return the port of the proxy in front of a local port; start it if there is none."""
        proxies = self.all.setdefault(name, [])
        proxy = next((other for other in proxies if other.target == port), None)
        if proxy is None:
            proxy = Proxy(name, port)
            self._call(self._start(proxy))
            proxies.append(proxy)
        return proxy.port

    def reset(self, proxy: Proxy) -> None:
        """Reset all connections that pass through a proxy."""
        self._loop.call_soon_threadsafe(proxy.reset)

    def restore(self) -> None:
        """Stop disturbing connections."""
        for proxies in self.all.values():
            for proxy in proxies:
                proxy.restore()

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(START_SECONDS)

    async def _start(self, proxy: Proxy) -> None:
        server = await asyncio.start_server(proxy.serve, HOST, 0)
        proxy.port = server.sockets[0].getsockname()[1]

    async def _end(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
