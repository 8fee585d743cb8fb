"""Records the rates of each minute in `kind_rates`, from the jobs that ended in it.

No transition writes a rate. Once a minute each replica runs one statement over the index of finished jobs; the replica that
inserts the minute also sums up its hour. A repeated pass changes nothing. Rows are bounded: 200 kinds a minute, minutes for 25
hours, hours for 7 days.
"""

from __future__ import annotations

import asyncio
import random
import time
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import postgres
from services.jobs import domain, sql
from services.jobs.rates import histogram

LAG = timedelta(seconds=15)
"""A minute is recorded this long after its end: statements and transactions that end jobs have ended by then."""
CATCH_UP = timedelta(hours=1)
"""Older minutes of an outage are left out."""
STEP = timedelta(minutes=5)
"""Minutes of one statement: a whole hour of a busy system may take longer than a statement may, and would each time."""
MAX_KINDS = 200
KEEP_MINUTES = timedelta(hours=25)
KEEP_HOURS = timedelta(days=7, hours=1)
_PAUSE_SECONDS = 60.0
_STATES = (domain.State.COMPLETED, domain.State.FAILED, domain.State.CANCELLED)
_BUCKETS = f"generate_series(0, {histogram.BUCKETS - 1})"


def _counts(values: str) -> str:
    """Return the histogram of an array of buckets."""
    buckets = f"{_BUCKETS} b LEFT JOIN unnest({values}) v(bucket) ON v.bucket = b"
    return f"ARRAY(SELECT count(v.bucket) FROM {buckets} GROUP BY b ORDER BY b)"


def _sums(column: str) -> str:
    """Return the sum of the histograms of the minutes of an hour."""
    return f"""(SELECT array_agg(total ORDER BY position) FROM (
        SELECT u.position, sum(u.count)::integer AS total
        FROM jobs.kind_rates m, unnest(m.{column}) WITH ORDINALITY u(count, position)
        WHERE m.span = 'minute' AND m.kind = h.kind AND m.begins_at >= h.hour AND m.begins_at < h.hour + interval '1 hour'
        GROUP BY u.position) s)"""


_MINUTES = sql.prepared(f"""
WITH RECURSIVE times AS (
    SELECT since, least(since + :step, newest) AS until, newest FROM (
        SELECT greatest(date_trunc('minute', now() - :catch_up), (SELECT max(begins_at) + interval '1 minute'
            FROM jobs.kind_rates WHERE span = 'minute' AND kind = '{domain.ALL_KINDS}')) AS since,
            date_trunc('minute', now() - :lag) AS newest) t
), walk AS (
    (SELECT kind FROM jobs.jobs WHERE finished_at IS NOT NULL ORDER BY kind LIMIT 1)
    UNION ALL
    SELECT (SELECT j.kind FROM jobs.jobs j WHERE j.finished_at IS NOT NULL AND j.kind > walk.kind ORDER BY j.kind LIMIT 1)
    FROM walk WHERE walk.kind IS NOT NULL
), ended AS MATERIALIZED (
    SELECT j.kind, date_trunc('minute', j.finished_at) AS begins_at, j.state,
        {histogram.bucket(sql.WAIT_TIME)} AS wait, {histogram.bucket(sql.RUN_TIME)} AS run
    FROM times JOIN walk ON times.since < times.until CROSS JOIN LATERAL (
        SELECT * FROM jobs.jobs f WHERE f.kind = walk.kind AND f.finished_at >= times.since AND f.finished_at < times.until) j
), waiting AS MATERIALIZED (
    SELECT kind, times.until - interval '1 minute' AS begins_at, count(*)::integer AS jobs
    FROM times JOIN (
        SELECT kind FROM jobs.jobs WHERE ready
        UNION ALL SELECT kind FROM jobs.jobs WHERE state = {sql.PENDING} AND NOT ready
    ) w ON times.since < times.until AND times.until = times.newest
    GROUP BY 1, 2
), counted AS (
    SELECT coalesce(kind, '{domain.ALL_KINDS}') AS kind, begins_at,
        {", ".join(f"count(*) FILTER (WHERE state = '{state}')::integer AS {state}" for state in _STATES)},
        array_agg(wait) AS waits, array_agg(run) AS runs
    FROM ended GROUP BY GROUPING SETS ((kind, begins_at), (begins_at))
), keys AS (
    SELECT kind, begins_at FROM counted UNION SELECT kind, begins_at FROM waiting
    UNION SELECT '{domain.ALL_KINDS}', generate_series(since, until - interval '1 minute', interval '1 minute') FROM times
), rates AS (
    SELECT k.kind, k.begins_at, coalesce(c.completed, 0) AS completed, coalesce(c.failed, 0) AS failed,
        coalesce(c.cancelled, 0) AS cancelled, coalesce(w.jobs, CASE WHEN k.kind = '{domain.ALL_KINDS}' THEN (
            SELECT sum(a.jobs) FROM waiting a WHERE a.begins_at = k.begins_at) END, 0) AS waiting, c.waits, c.runs,
        row_number() OVER (PARTITION BY k.begins_at ORDER BY k.kind <> '{domain.ALL_KINDS}', coalesce(c.failed, 0) DESC,
            coalesce(c.completed, 0) + coalesce(w.jobs, 0) DESC) AS rank
    FROM keys k LEFT JOIN counted c ON c.kind = k.kind AND c.begins_at = k.begins_at
    LEFT JOIN waiting w ON w.kind = k.kind AND w.begins_at = k.begins_at
)
INSERT INTO jobs.kind_rates (kind, span, begins_at, completed, failed, cancelled, waiting, waits, runs)
SELECT kind, 'minute', begins_at, completed, failed, cancelled, waiting, {_counts("waits")}, {_counts("runs")}
FROM rates WHERE rank <= :max_kinds ON CONFLICT DO NOTHING RETURNING begins_at
""")

_HOURS = sql.prepared(f"""
INSERT INTO jobs.kind_rates (kind, span, begins_at, completed, failed, cancelled, waiting, waits, runs)
SELECT h.kind, 'hour', h.hour, h.completed, h.failed, h.cancelled, h.waiting, {_sums("waits")}, {_sums("runs")}
FROM (
    SELECT kind, date_trunc('hour', begins_at, 'UTC') AS hour, sum(completed) AS completed, sum(failed) AS failed,
        sum(cancelled) AS cancelled, max(waiting) AS waiting
    FROM jobs.kind_rates WHERE span = 'minute' AND begins_at >= date_trunc('hour', CAST(:since AS timestamptz), 'UTC')
    GROUP BY 1, 2
) h
ON CONFLICT (span, kind, begins_at) DO UPDATE SET completed = excluded.completed, failed = excluded.failed,
    cancelled = excluded.cancelled, waiting = excluded.waiting, waits = excluded.waits, runs = excluded.runs
""")

_FORGET = sql.prepared("""
DELETE FROM jobs.kind_rates WHERE (span = 'minute' AND begins_at < now() - :minutes)
    OR (span = 'hour' AND begins_at < now() - :hours)
""")


class Recorder:
    """Runs in every replica."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._single = postgres.autocommit(engine)

    async def run(self) -> None:
        """Record each minute soon after its end, forever."""
        while True:
            await self.record()
            # Replicas take turns: each waits a little longer than the minute needs.
            past = (time.time() - LAG.total_seconds()) % _PAUSE_SECONDS
            await asyncio.sleep(_PAUSE_SECONDS - past + random.uniform(0.5, 5.0))  # noqa: S311

    async def record(self) -> bool:
        """Record the minutes that have ended since the last pass of any replica; return whether there were any."""
        parameters = {"lag": LAG, "catch_up": CATCH_UP, "step": STEP, "max_kinds": MAX_KINDS}
        is_recorded = False
        async with self._single.connect() as conn:
            while inserted := await _MINUTES.execute(conn, parameters):
                is_recorded = True
                await _HOURS.execute(conn, {"since": min(begins_at for (begins_at,) in inserted)})
            if is_recorded:
                await _FORGET.execute(conn, {"minutes": KEEP_MINUTES, "hours": KEEP_HOURS})
        return is_recorded
