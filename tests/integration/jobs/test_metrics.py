"""Metrics of the job engine."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from urllib import request

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from dev import subprocesses
from services.jobs import __main__ as jobs_service
from services.jobs import domain, metrics, operations
from services.jobs.operators import overview
from services.jobs.settings import Settings
from worker import liveness, probes


def read(address: str, path: str) -> str:
    """Fetch the metrics; empty while nothing listens."""
    try:
        with request.urlopen(f"http://{address}{path}", timeout=60.0) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""


async def test_jobs_are_counted_by_kind_and_state_and_waits_are_timed(
    jobs_engine: AsyncEngine,
    jobs: operations.Operations,
    submitted: Callable[..., Awaitable[domain.Job]],
    kind: str,
) -> None:
    await jobs.kinds.get([kind])
    for _ in range(3):
        await submitted()
    await jobs.claim(worker="w", kinds=[kind], limit=1)
    measured = metrics.Metrics(jobs_engine, overview.Overview(jobs_engine), watches=lambda: 7)
    await measured.measure()
    with probes.serving("127.0.0.1:0", liveness.Liveness(), measured) as port:
        address = f"127.0.0.1:{port}"
        assert await asyncio.to_thread(read, address, "/healthz") == "ok\n"
        lines = (await asyncio.to_thread(read, address, "/metrics")).splitlines()
    assert f'jobs{{kind="{kind}",state="pending"}} 2.0' in lines
    assert f'jobs{{kind="{kind}",state="running"}} 1.0' in lines
    assert "jobs_watches 7.0" in lines
    (oldest,) = [line for line in lines if line.startswith(f'jobs_oldest_waiting_seconds{{kind="{kind}"}}')]
    assert float(oldest.split()[-1]) > 0
    (unsent,) = [line for line in lines if line.startswith("jobs_outbox_messages ")]
    # The bus of these tests is not connected: nothing has left.
    assert float(unsent.split()[-1]) > 0


@pytest.mark.parametrize("path", ["/healthz", "/metrics"])
async def test_metrics_are_exposed_at_the_configured_address(
    path: str,
    database_url: Callable[[str], str],
    nats_url: str,
    seeds: dict[str, str],
    trusted_identity_keys: str,
    eventually: Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]],
) -> None:
    listen, metrics_address = (f"127.0.0.1:{subprocesses.free_port()}" for _ in range(2))
    config = Settings(
        listen=listen,
        database_url=database_url("jobs"),
        nats_url=nats_url,
        identity_key=seeds["jobs"],
        trusted_identity_keys=trusted_identity_keys,
        jobs_metrics_address=metrics_address,
    )
    stop = asyncio.Event()
    serving = asyncio.ensure_future(jobs_service.serve(config, stop))

    async def is_told() -> bool:
        text = await asyncio.to_thread(read, metrics_address, path)
        return "ok" in text if path == "/healthz" else "jobs_measured_timestamp_seconds" in text

    await eventually(is_told)
    stop.set()
    await serving
