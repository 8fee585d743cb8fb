"""A lean HTTP/1.1 client. The load generator must cost far less than what it measures."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

import httptools

TIMEOUT = 20.0


class UnexpectedStatus(Exception):
    """The gateway answered with an unexpected status."""

    def __init__(self, request: str, answer: Answer) -> None:
        super().__init__(f"{request}: {answer.status} {answer.body[:300].decode(errors='replace')}")
        self.answer = answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes
    cookies: Sequence[str] = ()
    """The cookies that the response sets, as name=value."""

    def json(self) -> dict[str, Any]:
        read: dict[str, Any] = json.loads(self.body)
        return read


class Connection(asyncio.Protocol):
    """One connection, one request at a time. `on_body` is called with each part of a body as it arrives."""

    def __init__(self, on_body: Callable[[bytes], None] | None = None) -> None:
        self.on_body = on_body or self._keep
        self.is_open = True
        self._answer: asyncio.Future[Answer] | None = None
        self._transport: asyncio.Transport | None = None

    async def request(self, head: bytes) -> Answer:
        """Send a request and wait for its complete response."""
        assert self._transport is not None
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[str, str] = {}
        self._cookies: list[str] = []
        self._body = b""
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(head)
        async with asyncio.timeout(TIMEOUT):
            return await self._answer

    def send(self, head: bytes) -> None:
        """Send a request whose response is a stream."""
        assert self._transport is not None
        self._parser = httptools.HttpResponseParser(self)
        self._headers, self._cookies = {}, []
        self._transport.write(head)

    def close(self) -> None:
        if self._transport:
            self._transport.close()

    # --- called by asyncio and by the parser ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        if self._answer and not self._answer.done():
            self._answer.set_exception(exc or ConnectionError("the gateway closed the connection"))

    def on_header(self, name: bytes, value: bytes) -> None:
        field, text = name.decode("latin-1").lower(), value.decode("latin-1")
        self._headers[field] = text
        if field == "set-cookie":
            self._cookies.append(text.partition(";")[0])

    def on_message_complete(self) -> None:
        if self._answer and not self._answer.done():
            status = self._parser.get_status_code()
            answer = Answer(status=status, headers=self._headers, body=self._body, cookies=self._cookies)
            self._answer.set_result(answer)

    def _keep(self, piece: bytes) -> None:
        self._body += piece


class Client:
    """Requests over a pool with one connection per concurrent request."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._idle: list[Connection] = []

    async def request(
        self,
        method: str,
        path: str,
        *,
        expected: int,
        cookie: str = "",
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a request. Raises `UnexpectedStatus` for any other status than `expected`."""
        # The gateway closes connections that are idle for a while.
        self._idle = [connection for connection in self._idle if connection.is_open]
        connection = self._idle.pop() if self._idle else await self.connect()
        answer = await connection.request(self.head(method, path, cookie=cookie, body=body, headers=headers))
        if connection.is_open:
            self._idle.append(connection)
        if answer.status != expected:
            raise UnexpectedStatus(f"{method} {path}", answer)
        return answer

    async def connect(self, on_body: Callable[[bytes], None] | None = None) -> Connection:
        """Open a separate connection."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(TIMEOUT):
            _, connection = await loop.create_connection(lambda: Connection(on_body), self._host, self._port)
        return connection

    def head(
        self,
        method: str,
        path: str,
        *,
        cookie: str = "",
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self._host}:{self._port}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        content = json.dumps(body).encode() if body is not None else b""
        if cookie:
            lines.append(f"Cookie: {cookie}")
        if body is not None:
            lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
        return "\r\n".join([*lines, "", ""]).encode() + content

    def close(self) -> None:
        """Close the idle connections."""
        for connection in self._idle:
            connection.close()
        self._idle.clear()
