"""Services in this process, on real PostgreSQL and NATS, reached through real gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from chassis import identity
from chassis.rpc import client
from dev import children
from services.jobs import __main__ as jobs_service
from services.jobs.settings import Settings as JobsSettings
from worker import client as worker_client

JOBS_LEASE_SECONDS = 2.0


@pytest.fixture(scope="session")
async def jobs_target(
    database_url: Callable[[str], str], nats_url: str, seeds: dict[str, str], identity_trust: str
) -> AsyncIterator[str]:
    """The jobs service, with a lease of two seconds; gives its gRPC target."""
    target = f"127.0.0.1:{children.free_port()}"
    config = JobsSettings(
        listen=target,
        database_url=database_url("jobs"),
        nats_url=nats_url,
        identity_key=seeds["jobs"],
        identity_trust=identity_trust,
        jobs_lease_seconds=JOBS_LEASE_SECONDS,
    )
    stop = asyncio.Event()
    serving = asyncio.create_task(jobs_service.serve(config, stop))
    yield target
    stop.set()
    await serving


@pytest.fixture
async def jobs_client(
    jobs_target: str, signer: Callable[[str], identity.Signer]
) -> AsyncIterator[worker_client.JobsClient]:
    """The jobs service as a worker of the demo service sees it."""
    channel = worker_client.channel(jobs_target)
    yield worker_client.JobsClient(channel, client.Caller(signer("demo")))
    await channel.close()
