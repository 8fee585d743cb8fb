"""Prometheus gauges of the outbox of a service. Every replica reports the same values: use the maximum."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import partial

import sqlalchemy as sa
from prometheus_client.core import GaugeMetricFamily, Metric
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import exposition, ids, postgres
from chassis.prepared import Prepared

MAX_COUNT = 100_000
"""The highest count; more messages count as this many."""


def measurement(engine: AsyncEngine, table: sa.Table) -> exposition.Measurement:
    messages = sa.select(table.c.message_id).limit(MAX_COUNT).subquery()
    oldest = sa.select(table.c.message_id).order_by(table.c.message_id).limit(1).scalar_subquery()
    statement = Prepared(sa.select(sa.select(sa.func.count()).select_from(messages).scalar_subquery(), oldest))
    return exposition.Measurement("outbox", partial(_measure, postgres.autocommit(engine), statement))


async def _measure(single: AsyncEngine, statement: Prepared) -> Iterable[Metric]:
    async with single.connect() as conn:
        ((count, oldest),) = await statement.execute(conn, {})
    messages = GaugeMetricFamily("outbox_messages", "Messages that were not accepted yet, at most 100,000.")
    messages.add_metric([], count)
    age = GaugeMetricFamily("outbox_oldest_seconds", "Age of the oldest message that was not accepted yet.")
    age.add_metric([], max(0.0, time.time() - ids.timestamp_of(oldest).timestamp()) if oldest else 0.0)
    return messages, age
