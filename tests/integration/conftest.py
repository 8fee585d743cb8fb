"""Services in this process, on real PostgreSQL and NATS, reached through real gRPC."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import timedelta
from typing import Any, cast

import pytest

from chassis import errors, identity, outbox
from chassis.rpc import client
from dev import subprocesses
from repruv.jobs.v1 import jobs_service_pb2, jobs_service_pb2_grpc
from services.auth import passwords
from services.auth.connections import demo_client
from services.jobs import __main__ as jobs_service
from services.jobs.settings import Settings as JobsSettings
from tests.integration.jobs.jobs_server import JobsApi, connect_jobs_api
from worker import JobsClient, Worker
from worker import client as worker_client

Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]

JOBS_LEASE_SECONDS = 10.0
GENEROUS_SECONDS = 60.0
STALLED_SECONDS = 600.0
"""Longer than a test may take."""


@pytest.fixture(scope="session", autouse=True)
def generous_deadlines() -> Iterator[None]:
    """Let calls that fail at once while a service is down take their time while it is up, in this busy process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker_client, "GET_TIMEOUT", GENEROUS_SECONDS)
        patch.setattr(worker_client, "SUBMIT_TIMEOUT", GENEROUS_SECONDS)
        patch.setattr(demo_client, "TIMEOUT", GENEROUS_SECONDS)
        # Threads that hash have a low priority, and others take the processor.
        patch.setattr(passwords, "MAX_SECONDS", GENEROUS_SECONDS)
        # A worker whose loops stall ends its process, which is that of the tests: pytest would report nothing.
        patch.setitem(cast("dict[str, Any]", Worker.__init__.__kwdefaults__), "stalled_seconds", STALLED_SECONDS)
        yield


@pytest.fixture
def late_polls(monkeypatch: pytest.MonkeyPatch) -> timedelta:
    """Let polls leave messages that were sent after their commit alone for an hour, however long the test takes."""
    delay = timedelta(hours=1)
    # The package has a function of the module's name.
    monkeypatch.setattr(sys.modules[outbox.Transaction.__module__], "RELAY_DELAY", delay)
    return delay


@pytest.fixture(scope="session")
async def jobs_target(
    database_url: Callable[[str], str], nats_url: str, seeds: dict[str, str], trusted_identity_keys: str
) -> AsyncIterator[str]:
    """The jobs service, with a lease that outlives the pauses of a busy machine; gives its gRPC target."""
    target = f"127.0.0.1:{subprocesses.free_port()}"
    config = JobsSettings(
        listen=target,
        database_url=database_url("jobs"),
        nats_url=nats_url,
        identity_key=seeds["jobs"],
        trusted_identity_keys=trusted_identity_keys,
        jobs_lease_seconds=JOBS_LEASE_SECONDS,
    )
    stop = asyncio.Event()
    serving = asyncio.create_task(jobs_service.serve(config, stop))
    yield target
    stop.set()
    await serving


@pytest.fixture
async def jobs_of(signer: Callable[[str], identity.Signer]) -> AsyncIterator[Callable[[str, str], JobsClient]]:
    """Return the jobs service at a target as a service sees it whose state its jobs move. To be called in the event loop."""
    opened = []

    def client_of(service: str, target: str) -> JobsClient:
        opened.append(worker_client.channel(target))
        return JobsClient(opened[-1], client.Caller(signer(service)))

    yield client_of
    for channel in opened:
        await channel.close()


@pytest.fixture
async def cancel_job_of(
    jobs_target: str, signer: Callable[[str], identity.Signer], eventually: Eventually
) -> AsyncIterator[Callable[[str, str], Awaitable[None]]]:
    """Have a service cancel a job in the real jobs service, when it has arrived there."""
    channel = worker_client.channel(jobs_target)
    stub = jobs_service_pb2_grpc.JobsServiceStub(channel)

    async def cancel(service: str, job_id: str) -> None:
        call = client.Caller(signer(service))

        async def cancelled() -> bool:
            try:
                await call(stub.CancelJob, jobs_service_pb2.CancelJobRequest(job_id=job_id), timeout=60.0)
            except errors.NotFound:
                return False
            return True

        await eventually(cancelled)

    yield cancel
    await channel.close()


@pytest.fixture
async def jobs_client(
    jobs_target: str, signer: Callable[[str], identity.Signer]
) -> AsyncIterator[worker_client.JobsClient]:
    """The jobs service as a worker of the demo service sees it."""
    channel = worker_client.channel(jobs_target)
    yield worker_client.JobsClient(channel, client.Caller(signer("demo")))
    await channel.close()


@pytest.fixture
async def jobs_api(jobs_target: str, signer: Callable[[str], identity.Signer]) -> AsyncIterator[JobsApi]:
    """Connect to the jobs service."""
    async with connect_jobs_api(jobs_target, signer) as api:
        yield api
