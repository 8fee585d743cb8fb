"""A name that was unknown for long is resolved soon after it returns."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from chassis.rpc import channel, client

NAME = "service.test"
UNKNOWN_ANSWERS = 12
"""gRPC alone would reach such an interval only after a quarter of an hour."""


class NameServer(asyncio.DatagramProtocol):
    """Refuses the first queries for NAME, then answers 127.0.0.1."""

    def __init__(self) -> None:
        self.queries = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        question = data[12:]
        name_end = question.index(b"\0") + 1
        kind = struct.unpack("!H", question[name_end : name_end + 2])[0]
        asks_for_address = kind == 1 and question.startswith(b"\x07service\x04test\0")
        self.queries += asks_for_address
        knows = asks_for_address and self.queries > UNKNOWN_ANSWERS
        header = data[:2] + struct.pack("!HHHHH", 0x8180 if knows else 0x8183, 1, int(knows), 0, 0)
        answer = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 1, 4) + socket.inet_aton("127.0.0.1") if knows else b""
        self._transport.sendto(header + question[: name_end + 4] + answer, addr)


@pytest.fixture
async def name_server() -> AsyncIterator[tuple[NameServer, int]]:
    transport, server = await asyncio.get_running_loop().create_datagram_endpoint(
        NameServer, local_addr=("127.0.0.1", 0)
    )
    yield server, transport.get_extra_info("sockname")[1]
    transport.close()


@pytest.fixture
async def port() -> AsyncIterator[int]:
    server = grpc.aio.server()
    servicer = health.aio.HealthServicer()
    await servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    chosen = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield chosen
    await server.stop(0)


async def test_returning_name_is_resolved_within_seconds(
    name_server: tuple[NameServer, int],
    port: int,
    eventually: Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]],
) -> None:
    server, dns_port = name_server
    opened = channel.Channel(f"dns://127.0.0.1:{dns_port}/{NAME}:{port}", [], renew_seconds=0.1)
    stub: Any = health_pb2_grpc.HealthStub(opened)

    async def is_found() -> bool:
        try:
            await stub.Check(health_pb2.HealthCheckRequest(), timeout=1.0)
        except grpc.aio.AioRpcError:
            return False
        return True

    await eventually(is_found)
    assert server.queries > UNKNOWN_ANSWERS
    await opened.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
async def test_target_of_several_addresses_is_reached_by_both_protocols(host: str) -> None:
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
    target = ",".join(f"{host}:{server.add_insecure_port(f'{host}:0')}" for _ in range(2))
    await server.start()
    opened = client.channel(target, service="grpc.health.v1.Health")
    stub: Any = health_pb2_grpc.HealthStub(opened)
    answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=60.0, wait_for_ready=True)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    await opened.close()
    await server.stop(None)


async def test_first_call_on_a_closed_channel_is_refused(port: int) -> None:
    opened = channel.Channel(f"127.0.0.1:{port}", [])
    stub: Any = health_pb2_grpc.HealthStub(opened)
    await opened.close()
    with pytest.raises(grpc.aio.UsageError, match="closed"):
        await stub.Check(health_pb2.HealthCheckRequest(), timeout=1.0)


async def test_slow_peer_is_not_flooded_with_connections(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    # Not in the module `time`: the event loop and all that runs in it read that clock too.
    monkeypatch.setattr(channel, "time", SimpleNamespace(monotonic=lambda: now))
    opened = channel.Channel(f"127.0.0.1:{port}", [])
    stub: Any = health_pb2_grpc.HealthStub(opened)
    renewed = []
    for second in range(1, 61):
        now = 100.0 + second
        inner = opened.current()
        # Established, and slow to answer.
        await stub.Check(health_pb2.HealthCheckRequest(), timeout=60.0)
        opened.renew()
        if opened.current() is not inner:
            renewed.append(second)
    assert renewed == [2, 5, 10, 19, 36]
    await opened.close()
