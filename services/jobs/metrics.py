"""What Prometheus is told about the job engine. Every replica tells the same of the jobs: take the maximum, not the sum."""

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
"""More messages in the outbox than these count as so many."""


class Metrics(Collector):
    """The metrics of one replica, in a registry of their own."""

    def __init__(self, engine: AsyncEngine, seen: overview.Overview, *, watches: Callable[[], float]) -> None:
        """`watches` gives how many watches this replica serves."""
        self._single = postgres.autocommit(engine)
        self._overview = seen
        self._measured: tuple[Metric, ...] = ()
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        Gauge("jobs_watches", "Watches of this replica.", registry=self.registry).set_function(watches)
        self.registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """Give what was measured last, all of one moment; called by another thread."""
        yield from self._measured

    async def measure(self) -> None:
        """Measure."""
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
        some = sa.select(schema.outbox.c.message_id).limit(OUTBOX_COUNTED).subquery()
        async with self._single.connect() as conn:
            return (await conn.execute(sa.select(sa.func.count()).select_from(some))).scalar_one()
