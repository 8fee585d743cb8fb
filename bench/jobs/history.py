"""Fills the jobs table with any number of finished jobs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import psycopg

from bench.jobs import noop

CHUNK = 250_000
END = timedelta(seconds=2 * noop.LATELY_SECONDS)
# Spread over one past day, over 100,000 owners and the users of the measurement; ids in time order.
INSERT = """
    INSERT INTO jobs.jobs (job_id, owner_id, kind, payload, priority, budget, backoff, max_backoff, attempt_timeout,
                           state, run_at, attempt, max_attempts, result, version, created_at, started_at, finished_at)
    SELECT uuidv7(past), CASE WHEN n %% 50 = 0 THEN (%(owners)s::uuid[])[1 + n / 50 %% cardinality(%(owners)s::uuid[])]
                              ELSE md5((n %% 100000)::text)::uuid END,
           %(kind)s, jsonb_build_object('index', n), 0, 3, '1 s', '1 min', '10 min',
           'completed', at, 1, 3, '{}', 3, at, at, at
    FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n,
         LATERAL (SELECT (n - %(all)s) * interval '1 day' / %(all)s - %(end)s AS past) AS shift,
         LATERAL (SELECT now() + past AS at) AS time
"""


def prefill(url: str, count: int, status: Callable[[str], None]) -> None:
    """Insert `count` finished jobs, then vacuum and checkpoint as the database would have over time."""
    with psycopg.connect(url, autocommit=True, connect_timeout=5) as conn:
        for first in range(1, count + 1, CHUNK):
            status(f"history: {first - 1:,} of {count:,} jobs")
            parameters = {"first": first, "last": min(first + CHUNK - 1, count), "all": count, "end": END}
            conn.execute(INSERT, {**parameters, "owners": noop.OWNERS, "kind": noop.KIND})
        status("history: vacuum")
        # Otherwise autovacuum would run during the measurement.
        conn.execute("VACUUM (ANALYZE) jobs.jobs")
        conn.execute("CHECKPOINT")


def size(url: str) -> str:
    """Return the size of the jobs table with its indexes."""
    with psycopg.connect(url, autocommit=True, connect_timeout=5) as conn:
        row = conn.execute("SELECT pg_size_pretty(pg_total_relation_size('jobs.jobs'))").fetchone()
    return str(row[0]) if row else ""
