"""Prometheus metrics of the job engine. Every replica reports the same numbers of jobs: use the maximum, not the sum."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import sqlalchemy as sa
from prometheus_client import CollectorRegistry, Gauge, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import postgres
from services.jobs import schema
from services.jobs.operators import overview

MEASURE_SECONDS = 10.0
OUTBOX_COUNTED = 100_000
"""The highest outbox count; more messages count as this many."""


class Metrics(Collector):
    """The metrics of one replica, in a separate registry."""

    def __init__(
        self, engine: AsyncEngine, engine_overview: overview.Overview, *, watches: Callable[[], float]
    ) -> None:
        """Create the registry; `watches` returns the number of open watches."""
        self._single = postgres.autocommit(engine)
        self._overview = engine_overview
        self._measured: tuple[Metric, ...] = ()
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        Gauge("jobs_watches", "Watches of this replica.", registry=self.registry).set_function(watches)
        self.registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """Yield the latest measurement; called by another thread."""
        yield from self._measured

    async def measure(self) -> None:
        """Measure the jobs and the outbox."""
        jobs = GaugeMetricFamily("jobs", "Jobs that have not ended.", labels=["kind", "state"])
        oldest = GaugeMetricFamily(
            "jobs_oldest_waiting_seconds", "For how long the oldest job waits that can be claimed.", labels=["kind"]
        )
        now = time.time()
        for kind in await self._overview.list_kinds():
            for state, count in kind["counts"].items():
                jobs.add_metric([kind["kind"], state], count)
            since = kind["oldest_waiting_at"]
            oldest.add_metric([kind["kind"]], max(0.0, now - since.timestamp()) if since else 0.0)
        unsent = GaugeMetricFamily("jobs_outbox_messages", "Messages that have not left yet.")
        unsent.add_metric([], await self._count_outbox())
        measured = GaugeMetricFamily("jobs_measured_timestamp_seconds", "When this was measured.")
        measured.add_metric([], now)
        self._measured = (jobs, oldest, unsent, measured)

    async def _count_outbox(self) -> int:
        messages = sa.select(schema.outbox.c.message_id).limit(OUTBOX_COUNTED).subquery()
        async with self._single.connect() as conn:
            return (await conn.execute(sa.select(sa.func.count()).select_from(messages))).scalar_one()
