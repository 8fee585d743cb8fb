"""A jobs service in memory behind real gRPC, and workers on it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

import worker
from chassis import bus, identity, run
from chassis.rpc import client
from repruv.jobs.v1 import jobs_service_pb2, jobs_service_pb2_grpc
from tests.unit.worker.servicer import Fake
from worker import client as worker_client


@pytest.fixture
async def fake() -> AsyncIterator[Fake]:
    """Return the jobs service in memory."""
    yield Fake()  # type: ignore[abstract]


@pytest.fixture
async def jobs(fake: Fake, signer: Callable[[str], identity.Signer]) -> AsyncIterator[worker.JobsClient]:
    """Connect to the jobs service as a worker."""
    server = grpc.aio.server()
    jobs_service_pb2_grpc.add_JobsServiceServicer_to_server(fake, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channel = worker_client.channel(f"127.0.0.1:{port}")
    yield worker.JobsClient(channel, client.Caller(signer("demo")))
    await channel.close()
    await server.stop(None)


@pytest.fixture
def working(jobs: worker.JobsClient) -> Callable[..., Any]:
    """Run a worker of these kinds without NATS. Yield the event that stops it."""

    @asynccontextmanager
    async def work(*kinds: worker.Kind[Any], **options: Any) -> AsyncIterator[asyncio.Event]:
        silent = bus.Bus("nats://127.0.0.1:1", name="silent")
        settings = {"concurrency": 4, "drain_seconds": 0.2, **options}
        works = worker.Worker(name="test", kinds=kinds, jobs=jobs, bus=silent, **settings)
        stop = asyncio.Event()
        async with run.Background():
            task = asyncio.create_task(works.run(stop))
            try:
                yield stop
            finally:
                stop.set()
                await task

    return work


@pytest.fixture
def ended(fake: Fake, eventually: Any) -> Callable[[str], Any]:
    """Wait until a job has ended. Return its outcome."""

    async def wait(job_id: str) -> jobs_service_pb2.FinishJobRequest:
        async def has_ended() -> bool:
            return fake.ended(job_id) is not None

        await eventually(has_ended)
        outcome = fake.ended(job_id)
        assert outcome is not None
        return outcome

    return wait
