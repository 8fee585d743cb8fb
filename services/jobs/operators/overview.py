"""The job engine as a whole, for operators: its kinds, its workers, and the jobs that need somebody's eye.

What is counted here are jobs that have not ended, found by the partial indexes: what has ended may be kept by the million and
costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from chassis import postgres
from services.jobs import domain, schema, storage

# One part for each partial index that holds jobs which have not ended: ready, held, due later, waiting for children, waiting for
# their concurrency key. Together they are all of them, and none is in two.
_LIVING = """
SELECT kind, state, run_at, job_id, crashes FROM jobs.jobs WHERE ready
UNION ALL SELECT kind, state, run_at, job_id, crashes FROM jobs.jobs WHERE state IN ('running', 'cancelling')
UNION ALL SELECT kind, state, run_at, job_id, crashes FROM jobs.jobs
    WHERE state IN ('scheduled', 'retrying') AND NOT ready AND NOT awaits_children
UNION ALL SELECT kind, state, run_at, job_id, crashes FROM jobs.jobs WHERE awaits_children
UNION ALL SELECT kind, state, run_at, job_id, crashes FROM jobs.jobs WHERE state = 'pending' AND NOT ready
"""

_ABOUT_KIND = ", ".join(f"k.{column.name}" for column in schema.kinds.c if column.name != "kind")

KINDS = sa.text(f"""
WITH counted AS (
    SELECT kind, state, count(*) AS jobs FROM ({_LIVING}) living GROUP BY kind, state
)
SELECT named.kind, {_ABOUT_KIND}, coalesce(k.declared_at > now() - CAST(:served AS interval), false) AS served,
    (SELECT coalesce(json_object_agg(c.state, c.jobs), '{{}}') FROM counted c WHERE c.kind = named.kind) AS counts,
    (SELECT min(j.run_at) FROM jobs.jobs j WHERE j.ready AND j.kind = named.kind) AS oldest_waiting_at
-- A kind of which nothing was said may have been forgotten while jobs of it wait for their time.
FROM (SELECT kind FROM jobs.kinds UNION SELECT kind FROM counted) named LEFT JOIN jobs.kinds k ON k.kind = named.kind
WHERE CAST(:kind AS text) IS NULL OR named.kind = :kind
ORDER BY named.kind
""")  # noqa: S608 - nothing from outside

WORKERS = sa.text("""
SELECT coalesce(w.worker, h.worker) AS worker, coalesce(w.kinds, '{}') AS kinds, w.seen_at, coalesce(h.held, 0) AS held,
    h.lease_until
FROM jobs.workers w
FULL JOIN (
    SELECT worker, count(*) AS held, min(lease_until) AS lease_until FROM jobs.jobs
    WHERE state IN ('running', 'cancelling') GROUP BY worker
) h ON h.worker = w.worker
WHERE w.seen_at > now() - CAST(:seen AS interval) OR h.held > 0
ORDER BY 1
""")

STUCK = sa.text(f"""
WITH waiting AS (
    SELECT j.job_id, j.run_at AS since,
        CASE WHEN k.declared_at IS NULL OR k.declared_at < now() - CAST(:served AS interval) THEN 'no_worker'
            WHEN k.paused_at IS NOT NULL OR everything.paused_at IS NOT NULL THEN 'paused'
            WHEN j.crashes < :crashes AND j.run_at < now() - CAST(:waits AS interval) THEN 'waiting' END AS reason
    FROM jobs.jobs j LEFT JOIN jobs.kinds k ON k.kind = j.kind LEFT JOIN jobs.kinds everything ON everything.kind = '*'
    WHERE j.ready
), held AS (
    SELECT j.job_id, asked.at AS since, 'cancelling' AS reason FROM jobs.jobs j
    CROSS JOIN LATERAL (
        SELECT max(e.occurred_at) AS at FROM jobs.job_events e WHERE e.job_id = j.job_id AND e.state = 'cancelling'
    ) asked
    WHERE j.state IN ('running', 'cancelling') AND j.state = 'cancelling' AND asked.at < now() - CAST(:cancels AS interval)
    UNION ALL
    SELECT j.job_id, a.started_at + j.attempt_timeout, 'overrun' FROM jobs.jobs j
    JOIN jobs.attempts a ON a.job_id = j.job_id AND a.attempt = j.attempt
    WHERE j.state IN ('running', 'cancelling') AND j.state = 'running' AND a.started_at + j.attempt_timeout < now()
), crashing AS (
    SELECT living.job_id, (
        SELECT min(c.finished_at) FROM (
            SELECT a.finished_at FROM jobs.attempts a WHERE a.job_id = living.job_id AND a.outcome = 'crashed'
            ORDER BY a.attempt DESC LIMIT living.crashes
        ) c
    ) AS since, 'crashing' AS reason
    FROM ({_LIVING}) living WHERE living.crashes >= :crashes
), found AS (
    -- One reason a job: the first of them says what to do about it.
    SELECT DISTINCT ON (job_id) job_id, reason, since FROM (
        SELECT *, 1 AS rank FROM waiting WHERE reason IS NOT NULL
        UNION ALL SELECT job_id, since, reason, 2 FROM held
        UNION ALL SELECT job_id, since, reason, 3 FROM crashing
    ) every ORDER BY job_id, rank
)
SELECT job_id, reason, now() - since AS age FROM found ORDER BY since, job_id LIMIT :limit
""")  # noqa: S608

ALIVE = timedelta(minutes=2)
"""A kind that was declared, or a worker that was seen, so lately is alive."""
WAITING_TOO_LONG = timedelta(minutes=5)
CANCELLING_TOO_LONG = timedelta(minutes=1)
CRASHES = 2
"""Jobs are stuck that wait, are asked to stop, or have lost their workers for longer or more often than this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StuckJob:
    """A job that needs somebody's eye."""

    job: domain.Job
    reason: str
    age: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A worker process as it was last seen."""

    worker: str
    kinds: Sequence[str]
    seen_at: datetime | None
    """When it last declared its kinds; None when it never did, or that is forgotten."""
    held: int
    lease_until: datetime | None


class Overview:
    """Reads what operators want to know."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._single = postgres.autocommit(engine)

    async def list_kinds(self) -> list[Mapping[str, Any]]:
        """Read all kinds, by name: the columns of the table, and `served`, `counts` by state, `oldest_waiting_at`.

        Of a kind that was forgotten while it had jobs the columns are None.
        """
        async with self._single.connect() as conn:
            return await _kinds(conn, None)

    async def get_kind(self, kind: str) -> Mapping[str, Any]:
        """Read one kind that is known, as `list_kinds` does."""
        async with self._single.connect() as conn:
            return (await _kinds(conn, kind))[0]

    async def list_stuck(self, *, limit: int) -> list[StuckJob]:
        """Read jobs that need somebody's eye, the longest stuck first."""
        given = {
            "served": ALIVE,
            "waits": WAITING_TOO_LONG,
            "cancels": CANCELLING_TOO_LONG,
            "crashes": CRASHES,
            "limit": limit,
        }
        async with self._single.connect() as conn:
            found = [(row.job_id, row.reason, row.age) for row in await conn.execute(STUCK, given)]
            jobs: Mapping[UUID, domain.Job] = await storage.get_jobs(conn, [job_id for job_id, _, _ in found])
        return [StuckJob(job=jobs[job_id], reason=reason, age=age) for job_id, reason, age in found if job_id in jobs]

    async def list_workers(self) -> list[Worker]:
        """Read the workers that were seen in the last two minutes, or hold jobs, by name."""
        async with self._single.connect() as conn:
            rows = await conn.execute(WORKERS, {"seen": ALIVE})
            return [Worker(**row) for row in rows.mappings()]


async def _kinds(conn: AsyncConnection, kind: str | None) -> list[Mapping[str, Any]]:
    rows = await conn.execute(KINDS, {"served": ALIVE, "kind": kind})
    return [dict(row) for row in rows.mappings()]
