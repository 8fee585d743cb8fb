"""The server under clients that misbehave."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from gateway import server
from gateway.stream import response


async def test_a_reader_who_stalls_loses_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(response, "SEND_TIMEOUT", 0.2)
    ended = asyncio.Event()

    async def flood() -> AsyncGenerator[bytes, None]:
        while True:
            yield b"x" * 65_536

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await response.EventStream(flood(), on_gone=lambda: None, on_end=ended.set)(scope, receive, send)

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
    serving = asyncio.create_task(running.serve_until(stop))
    async with asyncio.timeout(20):
        while not running.started:
            await asyncio.sleep(0.01)
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(client, running.servers[0].sockets[0].getsockname())
            await loop.sock_sendall(client, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await ended.wait()
            received = b""
            while chunk := await loop.sock_recv(client, 65_536):
                received = (received + chunk)[-16:]
            assert not received.endswith(b"0\r\n\r\n")
            assert not running.server_state.connections
        stop.set()
        await serving
