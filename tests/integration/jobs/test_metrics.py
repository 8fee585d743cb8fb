"""Metrics of the job engine."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from urllib import request

import pytest
import sqlalchemy as sa
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import exposition, outbox
from chassis import metrics as chassis_metrics
from dev import subprocesses
from dev.embedded import EmbeddedServers
from services.jobs import __main__ as jobs_service
from services.jobs import counters, domain, metrics, operations, schema, watches
from services.jobs.operators import overview
from services.jobs.operators.holds import Holds
from services.jobs.settings import Settings

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def read(address: str, path: str) -> str:
    """Fetch the metrics; empty while nothing listens."""
    try:
        with request.urlopen(f"http://{address}{path}", timeout=60.0) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""


def samples(text: str) -> Samples:
    """Return the values of an exposition by name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(scraped: Samples, name: str, **labels: str) -> float:
    """Return the value of a sample."""
    return scraped[name, frozenset(labels.items())]


@pytest.fixture
async def scrape(jobs_engine: AsyncEngine, jobs: operations.Operations) -> Callable[[], Awaitable[Samples]]:
    """Measure and scrape the metrics of a replica."""

    async def scrape_once() -> Samples:
        registry = metrics.registry(jobs_engine, overview.Overview(jobs_engine), watches.Watches(jobs_engine, jobs))
        async with exposition.serving("127.0.0.1:0", registry) as port:
            return samples(await asyncio.to_thread(read, f"127.0.0.1:{port}", "/metrics"))

    return scrape_once


@pytest.fixture
def label_of_each_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Label all kinds: the tests before these have left jobs of more kinds than have labels."""
    monkeypatch.setattr(chassis_metrics, "MAX_KINDS", 100_000)


@pytest.mark.usefixtures("label_of_each_kind")
async def test_jobs_are_counted_by_kind_and_state_and_waits_are_timed(
    jobs_engine: AsyncEngine,
    jobs: operations.Operations,
    submit_job: Callable[..., Awaitable[domain.Job]],
    kind: str,
    scrape: Callable[[], Awaitable[Samples]],
) -> None:
    await jobs.kinds.get([kind])
    for _ in range(3):
        await submit_job()
    await jobs.claim(worker="w", kinds=[kind], limit=1)
    # No relay of these tests is connected: the message stays.
    async with outbox.transaction(jobs_engine, schema.outbox) as tx:
        tx.publish(outbox.Message(subject="jobs.events.test", payload=b""))
    scraped = await scrape()
    assert value(scraped, "jobs_unfinished", kind=kind, state="pending") == 2
    assert value(scraped, "jobs_unfinished", kind=kind, state="running") == 1
    assert value(scraped, "jobs_oldest_waiting_seconds", kind=kind) > 0
    assert value(scraped, "jobs_kind_paused", kind=kind) == 0
    assert value(scraped, "jobs_kind_has_worker", kind=kind) == 0
    assert value(scraped, "jobs_watches") == 0
    assert value(scraped, "outbox_messages") > 0
    assert value(scraped, "outbox_oldest_seconds") > 0
    for measurement in ("jobs", "outbox", "postgres"):
        assert value(scraped, "measurement_success", measurement=measurement) == 1


@pytest.mark.usefixtures("label_of_each_kind")
async def test_time_on_hold_is_measured_until_the_release(
    jobs_engine: AsyncEngine,
    jobs: operations.Operations,
    submit_job: Callable[..., Awaitable[domain.Job]],
    kind: str,
    scrape: Callable[[], Awaitable[Samples]],
) -> None:
    await jobs.kinds.get([kind])
    job, holds = await submit_job(), Holds(jobs)
    await holds.hold(job.job_id, actor_id=None)
    async with jobs_engine.begin() as conn:
        dated_back = "UPDATE jobs.job_changes SET changed_at = now() - interval '2 days' WHERE job_id = :job_id"
        await conn.execute(sa.text(dated_back), {"job_id": job.job_id})
    assert value(await scrape(), "jobs_oldest_hold_seconds", kind=kind) >= 2 * 86_400
    await holds.release(job.job_id, actor_id=None)
    assert value(await scrape(), "jobs_oldest_hold_seconds", kind=kind) == 0


async def test_committed_transitions_are_counted_by_kind_and_state(
    jobs: operations.Operations,
    submit_job: Callable[..., Awaitable[domain.Job]],
    kind: str,
    scrape: Callable[[], Awaitable[Samples]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A process labels a bounded number of kinds, and the tests before this one had theirs.
    monkeypatch.setattr(counters, "kind_label", chassis_metrics.kind_label())
    for _ in range(2):
        await submit_job()
    await jobs.claim(worker="w", kinds=[kind], limit=1)
    scraped = await scrape()
    assert value(scraped, "jobs_transitions_total", kind=kind, state="pending") == 2
    assert value(scraped, "jobs_transitions_total", kind=kind, state="running") == 1


async def test_state_of_the_database_server_includes_sessions_of_other_roles(
    database: Callable[[str], AsyncEngine], scrape: Callable[[], Awaitable[Samples]]
) -> None:
    async with database("demo").begin() as conn:
        await conn.exec_driver_sql("SELECT pg_current_xact_id()")
        scraped = await scrape()
    assert value(scraped, "postgres_oldest_transaction_seconds") > 0
    assert value(scraped, "postgres_connections") > 1
    assert value(scraped, "postgres_max_connections") == 200
    assert value(scraped, "postgres_frozen_xid_age") > 0
    for name in ("standbys", "replication_lag_seconds", "slot_retained_bytes", "archiving_fails"):
        assert value(scraped, f"postgres_{name}") == 0


async def test_age_of_the_last_backup_is_measured(
    servers: EmbeddedServers, jobs_engine: AsyncEngine, scrape: Callable[[], Awaitable[Samples]]
) -> None:
    assert value(await scrape(), "postgres_backup_seconds_ago") == 0
    with servers.postgres.connect() as connection:
        ago = datetime.now(UTC) - timedelta(days=3)
        alter = f"ALTER DATABASE {jobs_engine.url.database}"
        connection.execute(f"{alter} SET repruv.last_backup = '{ago:%Y-%m-%dT%H:%M:%SZ}'".encode())
        try:
            assert 3 * 86_400 <= value(await scrape(), "postgres_backup_seconds_ago") < 4 * 86_400
        finally:
            connection.execute(f"{alter} RESET repruv.last_backup".encode())


async def test_the_function_of_the_statistics_is_for_the_jobs_service_only(
    database: Callable[[str], AsyncEngine],
) -> None:
    async with database("jobs").connect() as conn:
        names = "SELECT json_object_keys(jobs.server_statistics())"
        keys = (await conn.exec_driver_sql(names)).scalars().all()
        assert set(keys) == set(metrics.SERVER_GAUGES)
        grants = await conn.exec_driver_sql(
            "SELECT has_function_privilege('demo', 'jobs.server_statistics()', 'EXECUTE')"
        )
        assert grants.scalar_one() is False


async def test_failed_measurement_exports_no_old_values(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    async def measure() -> list[Metric]:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise ConnectionError("the database is down")
        return [GaugeMetricFamily("measured_value", "A value.", 1)]

    monkeypatch.setattr(exposition, "CACHE_SECONDS", 600.0)
    registry = exposition.registry(exposition.Measurement("test", measure))
    async with exposition.serving("127.0.0.1:0", registry) as port:
        address = f"127.0.0.1:{port}"
        first = samples(await asyncio.to_thread(read, address, "/metrics"))
        cached = samples(await asyncio.to_thread(read, address, "/metrics"))
        monkeypatch.setattr(exposition, "CACHE_SECONDS", 0.0)
        failed = samples(await asyncio.to_thread(read, address, "/metrics"))
    assert (value(first, "measured_value"), value(first, "measurement_success", measurement="test")) == (1, 1)
    assert (value(cached, "measured_value"), calls) == (1, 2)
    assert value(failed, "measurement_success", measurement="test") == 0
    assert ("measured_value", frozenset()) not in failed


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
        metrics_address=metrics_address,
    )
    stop = asyncio.Event()
    serving = asyncio.ensure_future(jobs_service.serve(config, stop))

    async def is_served() -> bool:
        text = await asyncio.to_thread(read, metrics_address, path)
        return "ok" in text if path == "/healthz" else 'measurement_success{measurement="jobs"} 1.0' in text

    await eventually(is_served)
    stop.set()
    await serving
