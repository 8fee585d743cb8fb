"""Requests are handled when their bodies have arrived."""

from __future__ import annotations

import asyncio

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from gateway import problems
from gateway.middleware import body_limit

SIZE = 10


class Client:
    """Sends a body in parts, and receives the response."""

    def __init__(self, *parts: bytes, is_complete: bool = True) -> None:
        self._messages: asyncio.Queue[Message] = asyncio.Queue()
        self.is_awaited = asyncio.Event()
        """Set when everything that was sent is read, and more is awaited."""
        for part in parts:
            self.send(part, is_last=False)
        if is_complete:
            self.send(b"", is_last=True)
        self.status = 0
        self.answer = b""

    def send(self, part: bytes, *, is_last: bool) -> None:
        self._messages.put_nowait({"type": "http.request", "body": part, "more_body": not is_last})

    def disconnect(self) -> None:
        self._messages.put_nowait({"type": "http.disconnect"})

    async def call(self, app: body_limit.BodyLimit) -> None:
        """Send the request, and wait for the response."""
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/api/v1/demo/enable",
            "headers": [(b"transfer-encoding", b"chunked")],
        }
        await app(scope, self._next, self._receive)

    async def _next(self) -> Message:
        if self._messages.empty():
            self.is_awaited.set()
        return await self._messages.get()

    async def _receive(self, message: Message) -> None:
        self.status = message.get("status", self.status)
        self.answer += message.get("body", b"")


class Echo:
    """Answers with the body; counts the requests that reach it."""

    def __init__(self) -> None:
        self.count = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.count += 1
        await Response(await Request(scope, receive).body())(scope, receive, send)


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
def app(echo: Echo) -> body_limit.BodyLimit:
    return body_limit.BodyLimit(echo, responder=problems.ErrorResponder())


async def test_request_is_handled_when_its_body_has_arrived(app: body_limit.BodyLimit, echo: Echo) -> None:
    client = Client(b"first ", is_complete=False)
    call = asyncio.ensure_future(client.call(app))
    await client.is_awaited.wait()
    assert echo.count == 0
    client.send(b"last", is_last=True)
    await call
    assert (client.status, client.answer) == (200, b"first last")


async def test_client_that_disconnects_during_its_body_is_not_handled(app: body_limit.BodyLimit, echo: Echo) -> None:
    client = Client(b"first", is_complete=False)
    client.disconnect()
    await client.call(app)
    assert (client.status, echo.count) == (408, 0)


async def test_body_above_the_limit_is_refused_before_its_end(app: body_limit.BodyLimit, echo: Echo) -> None:
    client = Client(*[b"x" * 1024] * (body_limit.MAX_BODY_BYTES // 1024), b"x", is_complete=False)
    await client.call(app)
    assert (client.status, echo.count) == (413, 0)


async def test_oldest_of_too_many_bodies_is_given_up(
    app: body_limit.BodyLimit, echo: Echo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body_limit, "MAX_ARRIVING", 2)
    clients = [Client(b"slow", is_complete=False) for _ in range(3)]
    calls = [asyncio.ensure_future(client.call(app)) for client in clients]
    async with asyncio.timeout(10):
        await calls[0]
    assert [client.status for client in clients] == [408, 0, 0]
    honest = Client(b"honest")
    await honest.call(app)
    await calls[1]
    assert (honest.status, echo.count) == (200, 1)
    clients[2].send(b"", is_last=True)
    await calls[2]
    assert clients[2].answer == b"slow"
