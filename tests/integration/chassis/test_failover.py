"""Calls to replicas one of which is frozen: its connections stay open and nothing answers."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from chassis import identity
from chassis.rpc import client
from dev import subprocesses

SERVICE = "grpc.health.v1.Health"
EJECTED_SECONDS = 2.0
"""Half a second of silence, half a second until the ping, and a second for its answer."""
HEDGE_SECONDS = 0.25
TIMEOUT = 60.0
SERVER = """
import asyncio, sys, grpc
from chassis.rpc.server import OPTIONS
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
class Servicer(health.aio.HealthServicer):
    is_called = False
    async def Check(self, request, context):
        if not self.is_called:
            self.is_called = True
            print("called", flush=True)
        return await super().Check(request, context)
async def serve():
    server, servicer = grpc.aio.server(options=OPTIONS), Servicer()
    await servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    server.add_insecure_port(sys.argv[1])
    await server.start()
    print("serving", flush=True)
    await server.wait_for_termination()
asyncio.run(serve())
"""

Replicas = list[subprocess.Popen[bytes]]


@asynccontextmanager
async def replicas(*addresses: str) -> AsyncIterator[Replicas]:
    """Run a server for each address."""
    started = [_start(address) for address in addresses]
    try:
        for process in started:
            assert await _line(process) == b"serving\n"
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


def _start(address: str) -> subprocess.Popen[bytes]:
    command = [*subprocesses.dying_with_parent(signal.SIGKILL), sys.executable, "-c", SERVER, address]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


async def _line(process: subprocess.Popen[bytes]) -> bytes:
    """Return the next line that a replica prints."""
    assert process.stdout is not None
    return await asyncio.to_thread(process.stdout.readline)


class Client:
    """Calls the replicas at a target."""

    def __init__(self, target: str, signer: identity.Signer) -> None:
        self.channel = client.channel(target, service=SERVICE, idempotent=[f"{SERVICE}/Check"])
        self._stub: Any = health_pb2_grpc.HealthStub(self.channel)
        self._call = client.Caller(signer)

    async def check(self) -> float:
        """Call, and return how long it took."""
        began = time.monotonic()
        await self._call(self._stub.Check, health_pb2.HealthCheckRequest(), timeout=TIMEOUT)
        return time.monotonic() - began

    async def reaches(self, processes: Replicas) -> None:
        """Call until each replica was called."""
        called = [asyncio.create_task(_line(process)) for process in processes]
        while not all(line.done() for line in called):
            await self.check()

    async def check_hedged(self) -> None:
        """Call with hedges."""
        await self._call.hedged(
            self._stub.Check, health_pb2.HealthCheckRequest(), timeout=TIMEOUT, hedge_seconds=HEDGE_SECONDS
        )


@pytest.mark.parametrize("frozen", [0, 1])
async def test_frozen_replica_delays_calls_only_until_a_ping_is_missed(
    frozen: int, signer: Callable[[str], identity.Signer]
) -> None:
    addresses = [f"127.0.0.1:{subprocesses.free_port()}" for _ in range(2)]
    async with replicas(*addresses) as processes:
        caller = Client(",".join(addresses), signer("gateway"))
        await caller.reaches(processes)
        processes[frozen].send_signal(signal.SIGSTOP)
        for _ in range(2):
            await caller.check()
        # Every other call would wait for a ping if the frozen replica were called again.
        seconds = [await caller.check() for _ in range(16)]
        assert sum(elapsed >= EJECTED_SECONDS / 2 for elapsed in seconds) < len(seconds) / 4
        processes[frozen].send_signal(signal.SIGCONT)
        await caller.channel.close()


@pytest.fixture
def without_pings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a call to a frozen replica end at its deadline, unless it is hedged."""
    without = {"grpc.keepalive_time_ms": 600_000, "grpc.http2.ping_timeout_ms": 600_000}
    options = [(name, without.get(name, value)) for name, value in client._OPTIONS]
    monkeypatch.setattr(client, "_OPTIONS", options)


@pytest.mark.usefixtures("without_pings")
async def test_hedged_call_passes_over_a_frozen_replica(signer: Callable[[str], identity.Signer]) -> None:
    addresses = [f"127.0.0.1:{subprocesses.free_port()}" for _ in range(2)]
    async with replicas(*addresses) as processes:
        caller = Client(",".join(addresses), signer("gateway"))
        await caller.reaches(processes)
        processes[0].send_signal(signal.SIGSTOP)
        for _ in range(6):
            await caller.check_hedged()
        await caller.channel.close()


@pytest.mark.usefixtures("without_pings")
async def test_hedged_call_finds_another_replica_behind_one_address(signer: Callable[[str], identity.Signer]) -> None:
    address = f"127.0.0.1:{subprocesses.free_port()}"
    async with replicas(address, address) as processes:
        for process in processes:
            # The kernel chooses the replica of each connection: some of the eight are the frozen one's.
            callers = [Client(address, signer("gateway")) for _ in range(8)]
            await asyncio.gather(*(caller.check() for caller in callers))
            process.send_signal(signal.SIGSTOP)
            await asyncio.gather(*(caller.check_hedged() for caller in callers))
            process.send_signal(signal.SIGCONT)
            for caller in callers:
                await caller.channel.close()
