"""The server under clients that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import cast

import pytest
import uvicorn
from starlette.responses import Response, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway import server
from gateway.identity import sessions
from gateway.stream import frames, raw_connection, response
from gateway.stream import stream as streams
from repruv.auth.v1 import auth_pb2, auth_service_pb2


class Auth:
    """Accepts every session."""

    async def validate_session(self, token: str, *, passive: bool = False) -> auth_service_pb2.ValidateSessionResponse:
        answer = auth_service_pb2.ValidateSessionResponse(user=auth_pb2.User(user_id="user"))
        answer.identity_expire_time.FromSeconds(int(time.time()) + 100)
        return answer


class Stream(streams.Stream):
    """A stream whose sink the tests can see."""

    sink: raw_connection.Sink | None = None

    def start(self, sink: raw_connection.Sink) -> None:
        self.sink = sink
        super().start(sink)


async def opened() -> Stream:
    validator = sessions.Sessions(Auth(), is_live=lambda: True)
    return Stream(await validator.validate("a" * 40), validator)


@asynccontextmanager
async def serving(stream: streams.Stream) -> AsyncGenerator[server.Server, None]:
    """Answer the first request with this stream."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await response.EventStream(stream)(scope, receive, send)

    async with running_app(response.TakeOverMiddleware(app)) as running:
        yield running


@asynccontextmanager
async def running_app(app: ASGIApp) -> AsyncGenerator[server.Server, None]:
    """Serve an application."""

    async def drain(seconds: float) -> None:
        return None

    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=0,
        http=server.Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
    )
    running = server.Server(config, drain=drain)
    stop = asyncio.Event()
    task = asyncio.create_task(running.serve_until(stop))
    async with asyncio.timeout(60):
        while not running.started:
            await asyncio.sleep(0.01)
        yield running
        stop.set()
        await task


@asynccontextmanager
async def client_of(running: server.Server) -> AsyncGenerator[socket.socket, None]:
    """Connect a client with a small receive buffer that has sent a request."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, running.servers[0].sockets[0].getsockname())
        await loop.sock_sendall(client, b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
        yield client


async def rest(client: socket.socket) -> bytes:
    received = b""
    while chunk := await asyncio.get_running_loop().sock_recv(client, 65_536):
        received += chunk
    return received


async def until(holds: Callable[[], bool]) -> None:
    while not holds():
        await asyncio.sleep(0.005)


def snapshot(version: int, size: int = 65_536) -> frames.Frame:
    data = b"data: %b%d\n\n" % (b"x" * size, version)
    return frames.Frame(event="job", data=data, version=version, job_id="j")


def transition(sequence: int) -> frames.Frame:
    return frames.Frame(event="job", data=b"id: %d\n\n" % sequence, version=sequence, sequence=sequence, job_id="j")


async def flood(stream: Stream) -> int:
    """Send snapshots until the socket is full, and return the version of the last."""
    version = 0
    assert stream.sink
    while not stream.sink.is_full:
        version += 1
        stream.send(snapshot(version))
        await asyncio.sleep(0)
    return version


async def test_a_stalled_reader_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "SEND_TIMEOUT", 0.2)
    stream = await opened()
    end_event = asyncio.Event()
    stream.on_end = end_event.set
    async with serving(stream) as running, client_of(running) as client:
        await until(lambda: stream.sink is not None)
        await flood(stream)
        await end_event.wait()
        assert not (await rest(client)).endswith(b"0\r\n\r\n")
        assert stream.close_reason == streams.STALLED


async def test_a_slow_reader_gets_the_newest_snapshot_only() -> None:
    stream = await opened()
    async with serving(stream) as running, client_of(running) as client:
        await until(lambda: stream.sink is not None)
        version = await flood(stream)
        for newer in range(version + 1, version + 1_000):
            stream.send(snapshot(newer))
        assert stream.queued == 1
        stream.send(transition(1))
        for newer in range(version + 1_000, version + 1_100):
            stream.send(snapshot(newer))
        stream.close("draining")
        received = await rest(client)
    # The newest snapshot and the transition follow what was in the socket, and then the proper end.
    assert received.count(b"data: xxx") == version + 1
    tail = received[-1_000:]
    assert b"x%d\n\n" % (version + 1_099) in tail
    assert b"id: 1\n\n" in received
    assert b'{"reason":"draining"}' in tail
    assert tail.endswith(b"0\r\n\r\n")


async def test_a_reader_too_slow_for_transitions_is_reset_and_disconnected() -> None:
    stream = await opened()
    async with serving(stream) as running, client_of(running) as client:
        await until(lambda: stream.sink is not None)
        await flood(stream)
        for sequence in range(1, streams.MAX_TRANSITIONS + 50):
            stream.send(transition(sequence))
        assert stream.queued == 1
        tail = (await rest(client))[-400:]
    assert b'event: reset\ndata: {"reason":"too_slow"}' in tail
    assert b'event: bye\ndata: {"reason":"too_slow"}' in tail
    assert tail.endswith(b"0\r\n\r\n")


async def exchange(running: server.Server, request: bytes) -> bytes:
    """Send a request and return everything up to the end of the connection."""
    with socket.socket() as client:
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, running.servers[0].sockets[0].getsockname())
        await loop.sock_sendall(client, request)
        return await rest(client)


async def test_http_1_0_client_gets_a_stream_without_chunks() -> None:
    stream = await opened()
    async with serving(stream) as running:
        received = asyncio.create_task(exchange(running, b"GET /events HTTP/1.0\r\n\r\n"))
        await until(lambda: stream.sink is not None)
        stream.send(transition(1))
        stream.close("draining")
        head, _, body = (await received).partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head.lower()
    assert body.startswith(b"id: 1\n\n")
    assert body.endswith(b"\n\n")


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1\r\n",
        b"HTTP/1.1\r\nHost:\r\n",
        b"HTTP/1.1\r\nHost: \r\n",
        b"HTTP/1.1\r\nHost: a\r\nHost: a\r\n",
        b"HTTP/1.1\r\nHost: a\r\nHost: b\r\n",
        b"HTTP/1.0\r\nHost: a\r\nhost: b\r\n",
        b"HTTP/1.1\r\nHost: a b\r\n",
        b"HTTP/1.1\r\nHost: a/b\r\n",
        b"HTTP/1.1\r\nHost: a@b\r\n",
        b"HTTP/1.1\r\nHost: \xc3\xbc.example\r\n",
    ],
)
async def test_request_without_one_valid_host_is_refused(head: bytes) -> None:
    stream = await opened()
    async with serving(stream) as running:
        answer = await exchange(running, b"GET /events " + head + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert stream.sink is None


@pytest.mark.parametrize("host", [b"a", b"a_b:80", b"[::1]:8080", b"xn--bcher-kva.example", b"127.0.0.1"])
async def test_valid_host_is_accepted(host: bytes) -> None:
    stream = await opened()
    async with serving(stream) as running:
        received = asyncio.create_task(exchange(running, b"GET /events HTTP/1.1\r\nHost: " + host + b"\r\n\r\n"))
        await until(lambda: stream.sink is not None)
        stream.close("draining")
        assert (await received).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"",
        b"\r\n",
        b"GET / HT",
        b"GET / HTTP/1.1\r\nHost: a\r\nA:",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HT",
    ],
)
async def test_request_that_does_not_arrive_is_given_up(monkeypatch: pytest.MonkeyPatch, request_bytes: bytes) -> None:
    monkeypatch.setattr(server, "REQUEST_SECONDS", 0.2)
    async with running_app(echo) as running:
        answer = await exchange(running, request_bytes)
        await until(lambda: not running.server_state.connections)
    # Nothing is said where no request has begun, or a response has.
    assert (b"408 Request Timeout" in answer) == (request_bytes != b"" and b"\r\n\r\n" not in request_bytes)


async def test_client_that_reads_nothing_of_a_response_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = asyncio.Event()

    async def endless() -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield b"x" * 65_536
                await asyncio.sleep(0)
        finally:
            ended.set()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await StreamingResponse(endless())(scope, receive, send)

    monkeypatch.setattr(server, "UNREAD_SECONDS", 0.2)
    # The kernel ends a connection on which nothing at all is read. A client that reads a byte now and then escapes that.
    monkeypatch.setattr(server, "UNACKNOWLEDGED_MS", 0)
    async with running_app(app) as running, client_of(running):
        await ended.wait()
        await until(lambda: not running.server_state.connections)


async def test_idle_connection_after_a_request_is_not_given_up() -> None:
    async with running_app(echo) as running:
        reader, writer = await asyncio.open_connection(*running.servers[0].sockets[0].getsockname())
        for _ in range(2):
            writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody")
            await reader.readuntil(b"body")
            [protocol] = running.server_state.connections
            assert cast(server.Protocol, protocol)._deadline is None
        writer.close()


ENDLESS = {
    "address": (b"GET /", b"a" * 1_000),
    "header": (b"GET / HTTP/1.1\r\nHost: a\r\nA: ", b"a" * 1_000),
    "headers": (b"GET / HTTP/1.1\r\nHost: a\r\n", b"A: a\r\n" * 150),
    "trailers": (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n",
        b"A: a\r\n" * 150,
    ),
}


async def test_pipelined_requests_are_answered_in_order() -> None:
    request = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n%b\r\n%02d"
    async with running_app(echo) as running:
        sent = [request % (b"", number) for number in range(server.MAX_PIPELINED)]
        answer = await exchange(running, b"".join(sent) + request % (b"Connection: close\r\n", server.MAX_PIPELINED))
    bodies = [response.partition(b"\r\n\r\n")[2] for response in answer.split(b"HTTP/1.1 200 OK")[1:]]
    assert bodies == [b"%02d" % number for number in range(server.MAX_PIPELINED + 1)]


async def test_pipelined_requests_are_bounded() -> None:
    """One read brings ten thousand; each that waits holds some kilobytes."""
    has_begun, disconnected = asyncio.Event(), asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        has_begun.set()
        while (await receive())["type"] != "http.disconnect":
            pass
        disconnected.set()

    async with running_app(app) as running, client_of(running) as client:
        await has_begun.wait()
        [protocol] = running.server_state.connections
        await asyncio.get_running_loop().sock_sendall(client, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 1_000)
        await disconnected.wait()
        await until(lambda: not running.server_state.connections)
        assert len(cast(server.Protocol, protocol).pipeline) == 0


async def test_stream_with_a_pipelined_request_behind_it_goes_on() -> None:
    stream = await opened()
    stream.opening = b"data: opening\n\n"
    async with serving(stream) as running:
        reader, writer = await asyncio.open_connection(*running.servers[0].sockets[0].getsockname())
        request = b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n"
        writer.write(request * 2)
        assert await reader.readuntil(b"\r\n\r\n")
        assert (await reader.readuntil(b"opening\n\n\r\n")).startswith(b"f\r\ndata:")
        stream.send(transition(1))
        assert await reader.readuntil(b"\n\n\r\n") == b"7\r\nid: 1\n\n\r\n"
        stream.close("draining")
        assert (await reader.read()).endswith(b"0\r\n\r\n")
        writer.close()


@pytest.mark.parametrize("part", ENDLESS)
async def test_endless_head_is_refused(part: str) -> None:
    begin, repeated = ENDLESS[part]
    async with running_app(echo) as running:
        answer = b""
        with contextlib.suppress(ConnectionError):
            answer = await exchange(running, begin + repeated * 1_000)
        await until(lambda: not running.server_state.connections)
    assert not answer or answer.startswith((b"HTTP/1.1 431 ", b"HTTP/1.1 400 "))


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the body."""
    body, is_more = b"", True
    while is_more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message.get("body", b"")
        is_more = message.get("more_body", False)
    await Response(body)(scope, receive, send)


async def test_http_1_0_client_gets_a_body_of_unknown_length_up_to_the_end_of_the_connection() -> None:
    async def parts() -> AsyncGenerator[bytes, None]:
        for _ in range(3):
            yield b"part;"

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await StreamingResponse(parts())(scope, receive, send)

    async with running_app(app) as running:
        head, _, body = (await exchange(running, b"GET / HTTP/1.0\r\n\r\n")).partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head.lower()
    assert body == b"part;part;part;"


async def test_a_client_that_disconnects_during_the_opening_leaves_no_stream() -> None:
    stream = await opened()
    end_event = asyncio.Event()
    stream.on_end = end_event.set
    async with serving(stream) as running:
        async with client_of(running) as client:
            client.shutdown(socket.SHUT_RDWR)
        await end_event.wait()
        assert not running.server_state.connections
    assert stream.close_reason == streams.DISCONNECTED


def protocols() -> int:
    return sum(isinstance(referent, server.Protocol) for referent in gc.get_objects())


async def test_ended_connections_leave_nothing_for_collections_of_garbage() -> None:
    """They are rare, so what only they free is memory that grows: 39 MiB in 20 minutes of streams that come and go."""
    stream = await opened()

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await Response("answer")(scope, receive, send)

    gc.collect()
    before = protocols()
    gc.disable()
    try:
        async with serving(stream) as running, client_of(running) as client:
            await asyncio.get_running_loop().sock_recv(client, 65_536)
            client.close()
            await until(lambda: protocols() == before)
        async with running_app(answer) as running, client_of(running) as client:
            await asyncio.get_running_loop().sock_recv(client, 65_536)
            client.close()
            await until(lambda: protocols() == before)
    finally:
        gc.enable()
