"""The server under clients that misbehave."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from gateway import server
from gateway.identity import sessions
from gateway.stream import connection, response
from repruv.auth.v1 import auth_pb2, auth_service_pb2


class Auth:
    """Knows every session."""

    async def validate_session(self, token: str, *, passive: bool = False) -> auth_service_pb2.ValidateSessionResponse:
        answer = auth_service_pb2.ValidateSessionResponse(user=auth_pb2.User(user_id="user"))
        answer.identity_expire_time.FromSeconds(int(time.time()) + 100)
        return answer


async def opened() -> connection.Connection:
    validator = sessions.Sessions(Auth(), is_live=lambda: True)
    return connection.Connection(await validator.validate("a" * 40), validator)


@asynccontextmanager
async def serving(stream: connection.Connection) -> AsyncGenerator[server.Server, None]:
    """Answer the first request, whatever it is, with this stream."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await response.EventStream(stream)(scope, receive, send)

    async def drain(seconds: float) -> None:
        return None

    config = uvicorn.Config(
        response.HandOff(app),
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
    async with asyncio.timeout(30):
        while not running.started:
            await asyncio.sleep(0.01)
        yield running
        stop.set()
        await task


@asynccontextmanager
async def client_of(running: server.Server) -> AsyncGenerator[socket.socket, None]:
    """A client that has asked, and can take little before it reads."""
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


def snapshot(version: int, size: int = 65_536) -> connection.Frame:
    data = b"data: %b%d\n\n" % (b"x" * size, version)
    return connection.Frame(event="job", data=data, version=version, job_id="j")


def transition(sequence: int) -> connection.Frame:
    return connection.Frame(event="job", data=b"id: %d\n\n" % sequence, version=sequence, sequence=sequence, job_id="j")


async def flood(stream: connection.Connection) -> int:
    """Tell snapshots until the socket takes no more; gives the version of the last."""
    version = 0
    while not stream.is_slow:
        version += 1
        stream.tell(snapshot(version))
        await asyncio.sleep(0)
    return version


async def test_a_reader_who_stalls_loses_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "SEND_TIMEOUT", 0.2)
    stream = await opened()
    ended = asyncio.Event()
    stream.on_end = ended.set
    async with serving(stream) as running, client_of(running) as client:
        await until(lambda: stream.is_started)
        await flood(stream)
        await ended.wait()
        assert not (await rest(client)).endswith(b"0\r\n\r\n")
        assert stream.close_reason == connection.STALLED


async def test_what_a_slow_reader_is_not_told_is_not_kept() -> None:
    stream = await opened()
    async with serving(stream) as running, client_of(running) as client:
        await until(lambda: stream.is_started)
        version = await flood(stream)
        for newer in range(version + 1, version + 1_000):
            stream.tell(snapshot(newer))
        assert stream.waiting == 1
        stream.tell(transition(1))
        for newer in range(version + 1_000, version + 1_100):
            stream.tell(snapshot(newer))
        stream.close("draining")
        told = await rest(client)
    # The newest snapshot and the transition came after all that had gone into the socket, and then the proper end.
    assert told.count(b"data: xxx") == version + 1
    tail = told[-1_000:]
    assert b"x%d\n\n" % (version + 1_099) in tail
    assert b"id: 1\n\n" in told
    assert b'{"reason":"draining"}' in tail
    assert tail.endswith(b"0\r\n\r\n")


async def test_a_reader_too_slow_for_transitions_is_told_to_ask_anew_and_let_go() -> None:
    stream = await opened()
    async with serving(stream) as running, client_of(running) as client:
        await until(lambda: stream.is_started)
        await flood(stream)
        for sequence in range(1, connection.MAX_TRANSITIONS + 50):
            stream.tell(transition(sequence))
        assert stream.waiting == 1
        tail = (await rest(client))[-400:]
    assert b'event: reset\ndata: {"reason":"too_slow"}' in tail
    assert b'event: bye\ndata: {"reason":"too_slow"}' in tail
    assert tail.endswith(b"0\r\n\r\n")


async def test_a_client_that_leaves_while_its_stream_begins_leaves_nothing_behind() -> None:
    stream = await opened()
    ended = asyncio.Event()
    stream.on_end = ended.set
    async with serving(stream) as running:
        async with client_of(running) as client:
            client.shutdown(socket.SHUT_RDWR)
        await ended.wait()
        assert not running.server_state.connections
    assert stream.close_reason == connection.DISCONNECTED
