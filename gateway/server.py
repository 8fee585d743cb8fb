"""The HTTP server: uvicorn, changed to end open streams first when it stops."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Self

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from chassis import run
from gateway import settings
from gateway.stream import raw_connection

GRACEFUL_SECONDS = 6
DRAIN_SECONDS = 2.0
KEEP_ALIVE_SECONDS = 75
DATE_SECONDS = 1.0
"""The resolution of the Date header."""
UNACKNOWLEDGED_MS = 30_000
REQUEST_SECONDS = 30.0
"""Time for a request to arrive with its body, and for the first request of a connection to begin."""
UNREAD_SECONDS = 120.0
"""How long a response may wait for a client that reads too little. A full socket takes a slow line a while to send."""
MAX_HEAD_BYTES = 64 * 1024
"""Limit of a request line with its headers, and of trailers. The parser has none."""
MAX_PIPELINED = 16
"""Requests of a connection that wait for the response to an earlier one. What one read brings may hold ten thousand."""


_HOST = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=%:\[\]-]+")


class _UntilClose(int):
    """The length of a body that ends with its connection: uvicorn compares it with what has been sent."""

    def __lt__(self, other: int) -> bool:
        return False

    def __ne__(self, other: object) -> bool:
        return False

    def __sub__(self, other: int) -> Self:
        return self

    __hash__ = int.__hash__


class Server(uvicorn.Server):
    """A server that ends streams before it stops: uvicorn would wait for them until its timeout."""

    def __init__(self, config: uvicorn.Config, *, drain: Callable[[float], Awaitable[None]]) -> None:
        super().__init__(config)
        self._drain = drain
        self._stop = asyncio.Event()

    async def serve_until(self, stop: asyncio.Event, *, shared: socket.socket | None = None) -> None:
        """Serve on `shared`, or else on the configured address, until `stop` is set; then close connections and return."""
        self._stop = stop
        await self.serve(sockets=[shared] if shared else None)

    async def main_loop(self) -> None:
        """Update the Date header each second until `stop` is set. uvicorn polls ten times a second."""
        is_stopped = False
        while not is_stopped:
            await self.on_tick(0)
            is_stopped = await run.wait(self._stop, run.pause(DATE_SECONDS))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more connections, end the streams, then stop as uvicorn does."""
        for server in self.servers:
            server.close()
        await self._drain(DRAIN_SECONDS)
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to `chassis.run`."""
        yield


class Protocol(HttpToolsProtocol):
    """Lets a stream take over its connection, detects lost peers, and bounds what a request may take."""

    _deadline: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None
    _is_head = True
    _head_bytes = 0
    _running: RequestResponseCycle | None = None
    """The request that is handled; `cycle` is the last one that has arrived."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Configure the socket so that a lost peer is detected."""
        super().connection_made(transport)
        self._expect_request()
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family in {socket.AF_INET, socket.AF_INET6}:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if hasattr(socket, "TCP_USER_TIMEOUT"):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadlines and the request."""
        self._stop_expecting()
        self._stop_waiting()
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()
        super().connection_lost(exc)
        self._forget_request()

    def data_received(self, data: bytes) -> None:
        """Bound the time and the size of a request."""
        if self._is_head:
            self._expect_request()
            self._head_bytes += len(data)
        super().data_received(data)
        if self._is_head and self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._refuse(b"431 Request Header Fields Too Large")

    def pause_writing(self) -> None:
        """Let the response wait for its client, for a bounded time.

        `UNACKNOWLEDGED_MS` does not bound it for a client that reads a byte now and then.
        """
        super().pause_writing()
        self._unread = self.loop.call_later(UNREAD_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """Continue the response."""
        self._stop_waiting()
        super().resume_writing()

    def _stop_waiting(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def on_header(self, name: bytes, value: bytes) -> None:
        """Bound the trailers."""
        if not self._is_head:
            self._head_bytes += len(name) + len(value)
            if self._head_bytes > MAX_HEAD_BYTES:
                raise ValueError("the trailers are too large")
        super().on_header(name, value)

    def on_message_complete(self) -> None:
        """Expect the next request."""
        self._stop_expecting()
        self._is_head, self._head_bytes = True, 0
        super().on_message_complete()

    def _expect_request(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(REQUEST_SECONDS, self._refuse, b"408 Request Timeout")

    def _stop_expecting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _refuse(self, status: bytes) -> None:
        """Close the connection, with an error response if a request has begun and its response has not."""
        self._stop_expecting()
        if self._head_bytes and (self.cycle is None or self.cycle.response_complete):
            self.transport.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        self.transport.close()

    def on_message_begin(self) -> None:
        """Add the extension to the scope of the request."""
        self._expect_request()
        super().on_message_begin()
        scope: dict[str, Any] = self.scope  # type: ignore[assignment]
        scope["extensions"] = {raw_connection.TAKE_OVER: self.take_over}

    def on_headers_complete(self) -> None:
        """Refuse a request without exactly one valid Host (RFC 9112, 3.2), and send HTTP/1.0 clients no chunks (6.1).

        An error here makes uvicorn answer 400 and close.
        """
        hosts = [value for name, value in self.headers if name == b"host"]
        version = self.parser.get_http_version()
        if len(hosts) > 1 or (not hosts and version != "1.0") or not all(map(_HOST.fullmatch, hosts)):
            raise ValueError("a request must have one valid Host")
        self._is_head, self._head_bytes = False, 0
        super().on_headers_complete()
        if len(self.pipeline) > MAX_PIPELINED:
            raise ValueError("too many requests wait for the response to an earlier one")
        if version == "1.0" and self.cycle is not None:
            self.cycle.chunked_encoding = False
            self.cycle.expected_content_length = _UntilClose()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def take_over(self, writer: raw_connection.Writer) -> None:
        """Hand the connection, whose response has started, to `writer`. Pipelined requests get no response."""
        self._stop_expecting()
        self._stop_waiting()
        running = self._running
        was_lost = running is None or running.disconnected or self.transport.is_closing()
        if running is not None:
            # uvicorn regards the response as finished and does not wait for it.
            running.disconnected = True
        if running is None or was_lost:
            writer.disconnected()
            return
        self.connections.discard(self)
        self.flow.resume_reading()
        self.transport.set_write_buffer_limits(high=raw_connection.BUFFER_BYTES)
        is_chunked = bool(running.chunked_encoding)
        taken = raw_connection.RawConnection(
            self.transport, writer, is_chunked=is_chunked, is_full=self.flow.write_paused
        )
        self.transport.set_protocol(taken)
        self._forget_request()
        writer.start(taken)

    def _forget_request(self) -> None:
        """Break the reference cycles with the parser and the request: collections of garbage are rare here."""
        self.parser = None  # type: ignore[assignment]
        self.scope = None  # type: ignore[assignment]
        self.cycle = None  # type: ignore[assignment]
        self._running = None
        self.pipeline.clear()


def configure(app: ASGIApp, config: settings.Settings) -> uvicorn.Config:
    """Return the configuration of uvicorn: our logs, no banner, no WebSockets, only the named proxies."""
    host, port = config.address
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        http=Protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(config.proxies),
        forwarded_allow_ips=config.proxies or None,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACEFUL_SECONDS,
        backlog=2048,
    )
