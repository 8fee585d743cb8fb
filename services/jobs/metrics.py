"""Prometheus gauges that are read from the database of the job engine. Every replica reports the same values: use the maximum."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.core import GaugeMetricFamily, Metric
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import exposition, metrics, postgres
from chassis.outbox import metrics as outbox_metrics
from services.jobs import schema, sql, watches
from services.jobs.operators import overview

_LEASES = sql.prepared(f"""
SELECT count(*), CAST(coalesce(extract(epoch FROM now() - min(lease_until)), 0) AS double precision)
FROM jobs.jobs WHERE state IN {sql.HELD} AND lease_until < now()
""")  # noqa: S608 - our own states
# The role sees its own sessions only. The function, which provisioning creates, sees all and returns only these numbers.
_SERVER = sql.prepared("SELECT CAST(jobs.server_statistics() AS text)")
SERVER_GAUGES = {
    "oldest_transaction_seconds": "Age of the oldest open transaction of any client.",
    "oldest_xmin_age": "Transactions since the oldest snapshot, slot or prepared transaction that holds back vacuum.",
    "frozen_xid_age": "Transactions since the oldest unfrozen one; at 2 billion PostgreSQL refuses writes.",
    "connections": "Connections of clients.",
    "max_connections": "The most connections.",
    "standbys": "Standbys that receive the write-ahead log.",
    "replication_lag_seconds": "Time until the slowest standby has replayed a commit.",
    "slot_retained_bytes": "Write-ahead log that the slowest replication slot keeps.",
    "archiving_fails": "Whether the last attempt to archive write-ahead log failed.",
    "archived_seconds_ago": "Time since write-ahead log was archived, or since the start of the server.",
    "backup_seconds_ago": "Time since the last base backup of deploy/postgres/backup ended; 0 without one.",
}
"""Keys of the function's result, exported as `postgres_<key>`."""


def registry(
    engine: AsyncEngine, engine_overview: overview.Overview, job_watches: watches.Watches
) -> CollectorRegistry:
    measure = Measure(engine, engine_overview)
    new = exposition.registry(
        exposition.Measurement("jobs", measure.jobs),
        exposition.Measurement("postgres", measure.server),
        outbox_metrics.measurement(engine, schema.outbox),
    )
    Gauge("jobs_watches", "Open watches of this replica.", registry=new).set_function(lambda: job_watches.count)
    return new


class Measure:
    """Measures the jobs and the database server."""

    def __init__(self, engine: AsyncEngine, engine_overview: overview.Overview) -> None:
        self._single = postgres.autocommit(engine)
        self._overview = engine_overview

    async def jobs(self) -> Iterable[Metric]:
        """Measure the unfinished jobs by kind, and leases that nobody has rescued."""
        rows = await self._overview.list_kinds()
        holds = await self._overview.oldest_holds()
        async with self._single.connect() as conn:
            ((expired, late),) = await _LEASES.execute(conn, {})
        late_text = "Time since the lease expired that waits longest for its rescue."
        return (
            *_of_kinds(rows, holds),
            _gauge("jobs_expired_leases", "Held jobs whose lease has expired.", expired),
            _gauge("jobs_expired_lease_seconds", late_text, late),
        )

    async def server(self) -> Iterable[Metric]:
        async with self._single.connect() as conn:
            ((text,),) = await _SERVER.execute(conn, {})
        values = json.loads(text)
        return [_gauge(f"postgres_{key}", help_text, values[key] or 0) for key, help_text in SERVER_GAUGES.items()]


def _of_kinds(rows: Iterable[Mapping[str, Any]], holds: Mapping[str, float]) -> Iterable[Metric]:
    unfinished = GaugeMetricFamily("jobs_unfinished", "Jobs that have not ended.", labels=["kind", "state"])
    oldest = GaugeMetricFamily(
        "jobs_oldest_waiting_seconds", "For how long the oldest job waits that can be claimed.", labels=["kind"]
    )
    oldest_hold = GaugeMetricFamily(
        "jobs_oldest_hold_seconds", "For how long the oldest job on hold has been on hold.", labels=["kind"]
    )
    paused = GaugeMetricFamily("jobs_kind_paused", "Whether the kind is paused.", labels=["kind"])
    workers = GaugeMetricFamily("jobs_kind_has_worker", "Whether a worker has registered the kind.", labels=["kind"])
    now = time.time()
    counts: Counter[tuple[str, str]] = Counter()
    waits: dict[str, float] = {}
    hold_ages: dict[str, float] = {}
    # Those of the most jobs first: they get labels of their own.
    label = metrics.kind_label()
    for row in sorted(rows, key=lambda row: -sum(row["counts"].values())):
        kind = label(row["kind"])
        counts.update({(kind, state): count for state, count in row["counts"].items()})
        since = row["oldest_waiting_at"]
        waits[kind] = max(waits.get(kind, 0.0), now - since.timestamp() if since else 0.0)
        hold_ages[kind] = max(hold_ages.get(kind, 0.0), holds.get(row["kind"], 0.0))
        if kind == row["kind"]:
            paused.add_metric([kind], row["paused_at"] is not None)
            workers.add_metric([kind], row["has_worker"])
    for labels, count in counts.items():
        unfinished.add_metric(labels, count)
    for family, by_kind in ((oldest, waits), (oldest_hold, hold_ages)):
        for kind, seconds in by_kind.items():
            family.add_metric([kind], seconds)
    return unfinished, oldest, oldest_hold, paused, workers


def _gauge(name: str, help_text: str, value: float) -> Metric:
    gauge = GaugeMetricFamily(name, help_text)
    gauge.add_metric([], value)
    return gauge
