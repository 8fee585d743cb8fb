"""A running gRPC server for tests of calls, and a NATS of its own for tests that kill it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from chassis import errors, identity
from chassis.rpc import client, server
from dev.embedded import Nats
from repruv.jobs.v1 import admin_service_pb2_grpc, jobs_service_pb2_grpc
from tests.integration.chassis.rpc_server import (
    ADMIN_SERVICE,
    SERVICE,
    AdminServicer,
    Broken,
    RunningServer,
    Servicer,
)


@pytest.fixture(name="server")
async def killable_server(tmp_path: Path) -> AsyncIterator[Nats]:
    """A separate NATS for tests that kill it."""
    engine = Nats(tmp_path, password="p")
    await asyncio.to_thread(engine.start)
    yield engine
    await asyncio.to_thread(engine.erase)


@pytest.fixture
async def running_server(verifier: identity.Verifier) -> AsyncIterator[RunningServer]:
    """Serve on a free port. The gateway may call GetJob and WatchJob, demo ListKinds; all else is refused."""
    servicer = Servicer()  # type: ignore[abstract] # the rest is not called
    admin = AdminServicer()  # type: ignore[abstract]

    def translate(error: Exception) -> errors.Error | None:
        return errors.Unavailable(code="database_unavailable") if isinstance(error, Broken) else None

    async with server.serving(
        listen="127.0.0.1:0",
        services=[
            server.Service(
                name=SERVICE,
                register=partial(jobs_service_pb2_grpc.add_JobsServiceServicer_to_server, servicer),
                callers={"GetJob": frozenset({"gateway"}), "WatchJob": frozenset({"gateway"})},
            ),
            server.Service(
                name=ADMIN_SERVICE,
                register=partial(admin_service_pb2_grpc.add_AdminServiceServicer_to_server, admin),
                callers={"ListKinds": frozenset({"demo"})},
            ),
        ],
        verifier=verifier,
        translate=translate,
    ) as port:
        channel = client.channel(f"127.0.0.1:{port}", service=SERVICE)
        yield RunningServer(servicer, port, channel)
        servicer.hang.set()
        await channel.close()
