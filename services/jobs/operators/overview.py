"""The state of the job engine for operators: its kinds, its workers, and stuck jobs.

Only unfinished jobs are counted, through the partial indexes: millions of finished jobs cost nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from chassis import errors, postgres
from services.jobs import domain, outcomes, schema, sql, storage
from services.jobs.operators import change_log

FAILED_JOBS = 20_000
"""The newest failed jobs that can make a kind a problem."""
HELD_JOBS = 20
"""Jobs of a worker that are listed."""
MEASURED_WAITS = 10_000
"""The oldest wait of a kind is searched in this many ready jobs, the next to be claimed: they include each owner's first."""
MEASURED_HOLDS = 1_000
"""The longest hold of a kind is searched in this many jobs: more were put on hold together."""

# One part for each partial index of unfinished jobs: ready, held, delayed, waiting for children, waiting for their concurrency
# key. Together they contain every unfinished job once.
_UNFINISHED = f"""
SELECT kind, state, run_at, job_id, crashes FROM jobs.jobs WHERE ready
UNION ALL SELECT kind, state, run_at, job_id, crashes FROM jobs.jobs WHERE state IN {sql.HELD}
UNION ALL SELECT kind, state, run_at, job_id, crashes FROM jobs.jobs
    WHERE state IN {sql.DELAYED} AND NOT ready AND NOT awaits_children
UNION ALL SELECT kind, state, run_at, job_id, crashes FROM jobs.jobs WHERE awaits_children
UNION ALL SELECT kind, state, run_at, job_id, crashes FROM jobs.jobs WHERE state = {sql.PENDING} AND NOT ready
"""

_RUNNING, _CANCELLING = f"'{domain.State.RUNNING}'", f"'{domain.State.CANCELLING}'"
_CRASHED = f"'{outcomes.outcome_name(outcomes.Crashed())}'"
_KIND_COLUMNS = ", ".join(
    f"k.{column.name}" for column in schema.kinds.c if column.name not in {"kind", "payload_schema"}
)

CHANGES = 20
"""Changes of a kind that are listed."""

KINDS = sa.text(f"""
WITH counted AS (
    SELECT kind, state, count(*) AS jobs FROM ({_UNFINISHED}) unfinished GROUP BY kind, state
)
SELECT named.kind, {_KIND_COLUMNS}, CASE WHEN CAST(:kind AS text) IS NOT NULL THEN k.payload_schema END AS payload_schema,
    CASE WHEN k.paused_at IS NOT NULL THEN (SELECT c.actor_id FROM jobs.kind_changes c
        WHERE c.kind = named.kind AND c.change = 'paused' AND c.changed_at = k.paused_at
        ORDER BY c.change_id DESC LIMIT 1) END AS paused_by,
    coalesce(k.declared_at > now() - CAST(:alive AS interval), false) AS has_worker,
    (SELECT coalesce(json_object_agg(c.state, c.jobs), '{{}}') FROM counted c WHERE c.kind = named.kind) AS counts,
    (SELECT min(w.run_at) FROM (
        SELECT j.run_at FROM jobs.jobs j WHERE j.ready AND j.kind = named.kind
        ORDER BY j.priority DESC, j.fair_rank, j.job_id LIMIT {MEASURED_WAITS}) w) AS oldest_waiting_at
-- The row of a kind without settings may have been deleted while its jobs wait for their time.
FROM (SELECT kind FROM jobs.kinds UNION SELECT kind FROM counted) named LEFT JOIN jobs.kinds k ON k.kind = named.kind
WHERE CAST(:kind AS text) IS NULL OR named.kind = :kind
ORDER BY named.kind
""")

WORKERS = sa.text(f"""
SELECT coalesce(w.worker, h.worker) AS worker, coalesce(w.kinds, '{{}}') AS kinds, w.seen_at, coalesce(h.held, 0) AS held,
    h.lease_until, coalesce(w.host, '') AS host, coalesce(w.version, '') AS version, coalesce(w.concurrency, 0) AS concurrency,
    w.started_at, coalesce(h.jobs, '{{}}') AS jobs
FROM jobs.workers w
FULL JOIN (
    SELECT j.worker, count(*) AS held, min(j.lease_until) AS lease_until,
        (array_agg(json_build_array(j.job_id, j.kind, a.started_at) ORDER BY a.started_at))[1:{HELD_JOBS}] AS jobs
    FROM jobs.jobs j JOIN jobs.attempts a ON a.job_id = j.job_id AND a.attempt = j.attempt
    WHERE j.state IN {sql.HELD} GROUP BY j.worker
) h ON h.worker = w.worker
WHERE w.seen_at > now() - CAST(:alive AS interval) OR h.held > 0
ORDER BY 1
""")

_DELAYED = f"""
SELECT * FROM jobs.jobs WHERE state IN {sql.DELAYED} AND NOT ready AND NOT awaits_children
UNION ALL SELECT * FROM jobs.jobs WHERE awaits_children
"""
_ON_HOLD_SINCE = "(SELECT max(c.changed_at) FROM jobs.job_changes c WHERE c.job_id = j.job_id)"
_OLDEST_HOLDS = sql.prepared(f"""
SELECT h.kind, CAST(extract(epoch FROM now() - min(h.since)) AS double precision)
FROM (
    SELECT j.kind, {_ON_HOLD_SINCE} AS since FROM ({_DELAYED}) j WHERE {sql.IS_ON_HOLD} LIMIT {MEASURED_HOLDS}
) h GROUP BY h.kind
""")

_STUCK = f"""
WITH ready AS (
    SELECT j.job_id, j.kind, j.owner_id, j.crashes, j.run_at AS since,
        CASE WHEN k.declared_at IS NULL OR k.declared_at < now() - CAST(:alive AS interval) THEN 'no_worker'
            WHEN k.paused_at IS NOT NULL OR everything.paused_at IS NOT NULL THEN 'paused'
            WHEN j.crashes < :crashes AND j.run_at < now() - CAST(:waiting AS interval) THEN 'waiting' END AS reason
    FROM jobs.jobs j LEFT JOIN jobs.kinds k ON k.kind = j.kind LEFT JOIN jobs.kinds everything ON everything.kind = '*'
    WHERE j.ready
), held AS (
    SELECT j.job_id, j.kind, j.owner_id, j.crashes,
        CASE j.state WHEN {_CANCELLING} THEN requested.at ELSE a.started_at + j.attempt_timeout END AS since,
        CASE WHEN j.state = {_CANCELLING} AND requested.at < now() - CAST(:cancelling AS interval) THEN 'cancelling'
            WHEN j.state = {_RUNNING} AND a.started_at + j.attempt_timeout < now() THEN 'overrun' END AS reason
    FROM jobs.jobs j LEFT JOIN jobs.attempts a ON a.job_id = j.job_id AND a.attempt = j.attempt
    LEFT JOIN LATERAL (
        SELECT max(e.occurred_at) AS at FROM jobs.job_events e
        WHERE j.state = {_CANCELLING} AND e.job_id = j.job_id AND e.state = {_CANCELLING}
    ) requested ON true
    WHERE j.state IN {sql.HELD}
), other AS (
    SELECT job_id, kind, owner_id, crashes, CASE WHEN {sql.IS_ON_HOLD} THEN {_ON_HOLD_SINCE} END AS since,
        CASE WHEN {sql.IS_ON_HOLD} THEN 'on_hold' END AS reason
    FROM ({_DELAYED} UNION ALL SELECT * FROM jobs.jobs WHERE state = {sql.PENDING} AND NOT ready) j
), stuck AS (
    -- Another reason determines the remedy, also of a job that crashes.
    SELECT job_id, kind, owner_id, coalesce(reason, 'crashing') AS reason, CASE WHEN reason IS NOT NULL THEN since ELSE (
        SELECT min(c.finished_at) FROM (
            SELECT a.finished_at FROM jobs.attempts a WHERE a.job_id = unfinished.job_id AND a.outcome = {_CRASHED}
            ORDER BY a.attempt DESC LIMIT unfinished.crashes
        ) c
    ) END AS since
    FROM (SELECT * FROM ready UNION ALL SELECT * FROM held UNION ALL SELECT * FROM other) unfinished
    WHERE reason IS NOT NULL OR crashes >= :crashes
)
"""
_FAILING = f"""
    SELECT job_id, kind, owner_id, 'failing' AS reason, finished_at AS since FROM (
        SELECT * FROM jobs.jobs WHERE state = '{domain.State.FAILED}' ORDER BY job_id DESC LIMIT {FAILED_JOBS}
    ) j WHERE j.finished_at > now() - CAST(:failing AS interval)
"""
PROBLEM_JOBS = f"""
{_STUCK}, failing AS ({_FAILING})
SELECT job_id FROM (SELECT job_id, reason FROM stuck UNION ALL SELECT job_id, reason FROM failing) p WHERE reason = :problem
"""
"""Selects the jobs of the reason `:problem`, with the further parameters `PROBLEM_PARAMETERS`."""
STUCK = sa.text(f"""
{_STUCK}
SELECT job_id, reason, now() - since AS age FROM stuck ORDER BY reason = 'on_hold', since, job_id LIMIT :limit
""")
PROBLEMS = sa.text(f"""
{_STUCK}, failing AS ({_FAILING})
SELECT reason, kind, CAST(sum(count) AS bigint) AS count,
    count(*) FILTER (WHERE owner_id <> '{domain.SYSTEM}') AS owner_count, now() - min(since) AS age
-- By owner first: DISTINCT owners would be sorted.
FROM (
    SELECT reason, kind, owner_id, count(*) AS count, min(since) AS since
    FROM (SELECT * FROM stuck UNION ALL SELECT * FROM failing) jobs GROUP BY reason, kind, owner_id
) p GROUP BY reason, kind
ORDER BY array_position(CAST(:reasons AS text[]), reason), sum(count) DESC, kind LIMIT :limit
""")

ALIVE = timedelta(minutes=2)
"""A kind registered, or a worker seen, within this time counts as alive."""
WAITING_TOO_LONG = timedelta(minutes=5)
CANCELLING_TOO_LONG = timedelta(minutes=1)
FAILING_WINDOW = timedelta(hours=1)
"""A failed job makes its kind a problem for this time."""
FAILING_REASON = "failing"
REASONS = ("crashing", "no_worker", "failing", "overrun", "cancelling", "waiting", "paused", "on_hold")
"""The reasons of problems, the worst first."""
MAX_PROBLEMS = 100

_STUCK_PARAMETERS = {
    "alive": ALIVE,
    "waiting": WAITING_TOO_LONG,
    "cancelling": CANCELLING_TOO_LONG,
    "crashes": outcomes.SUSPECT_CRASHES,
}
"""A job is stuck if it waits or is being cancelled for longer, or has crashed as often."""
PROBLEM_PARAMETERS = {**_STUCK_PARAMETERS, "failing": FAILING_WINDOW}


@dataclass(frozen=True, slots=True, kw_only=True)
class StuckJob:
    """A job that needs attention."""

    job: domain.Job
    reason: str
    age: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A worker process as it was last seen."""

    worker: str
    kinds: Sequence[str]
    seen_at: datetime | None
    """When it last registered its kinds; None if it never did, or its row was deleted."""
    held: int
    lease_until: datetime | None
    host: str
    version: str
    concurrency: int
    started_at: datetime | None
    jobs: Sequence[tuple[str, str, str]]
    """Id, kind and time of claim of the first jobs that it holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Jobs of one kind that need attention for the same reason."""

    reason: str
    kind: str
    count: int
    owner_count: int
    age: timedelta


class Overview:
    """Reads kinds, stuck jobs and workers."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._single = postgres.autocommit(engine)

    async def list_kinds(self) -> list[Mapping[str, Any]]:
        """Return all kinds by name: the columns of the table, `has_worker`, `counts` by state, `paused_by`, `oldest_waiting_at`.

        The columns are None for a kind whose row was deleted while it had jobs.
        """
        async with self._single.connect() as conn:
            return await _kinds(conn, None)

    async def get_kind(self, kind: str) -> Mapping[str, Any]:
        """Return a kind in the form of `list_kinds`, with the schema of its payload. Raises `kind_not_found`."""
        async with self._single.connect() as conn:
            rows = await _kinds(conn, kind)
        if not rows:
            raise errors.NotFound("There is no such kind.", code="kind_not_found", field="kind")
        return rows[0]

    async def list_changes(self, kind: str) -> Sequence[change_log.KindChange]:
        """Return the newest changes of a kind by operators, the newest first."""
        async with self._single.connect() as conn:
            return await change_log.KINDS.list_newest(conn, kind, limit=CHANGES)

    async def list_stuck(self, *, limit: int) -> list[StuckJob]:
        """Return jobs that need attention, the longest stuck first; after them those on hold, which may be many for long."""
        parameters = {**_STUCK_PARAMETERS, "limit": limit}
        async with self._single.connect() as conn:
            rows = (await conn.execute(STUCK, parameters)).all()
            jobs = await storage.get_light_jobs(conn, [row.job_id for row in rows])
        return [StuckJob(job=jobs[row.job_id], reason=row.reason, age=row.age) for row in rows if row.job_id in jobs]

    async def list_problems(self) -> list[Problem]:
        """Return what needs attention by reason and kind, the worst first."""
        parameters = {**PROBLEM_PARAMETERS, "reasons": list(REASONS), "limit": MAX_PROBLEMS}
        async with self._single.connect() as conn:
            return [Problem(**row) for row in (await conn.execute(PROBLEMS, parameters)).mappings()]

    async def oldest_holds(self) -> dict[str, float]:
        """Return by kind for how many seconds its oldest job on hold has been on hold."""
        async with self._single.connect() as conn:
            return {kind: seconds or 0.0 for kind, seconds in await _OLDEST_HOLDS.execute(conn, {})}

    async def list_workers(self) -> list[Worker]:
        """Return by name the workers that were seen in the last two minutes or hold jobs."""
        async with self._single.connect() as conn:
            rows = await conn.execute(WORKERS, {"alive": ALIVE})
            return [Worker(**row) for row in rows.mappings()]


async def _kinds(conn: AsyncConnection, kind: str | None) -> list[Mapping[str, Any]]:
    rows = await conn.execute(KINDS, {"alive": ALIVE, "kind": kind})
    return [dict(row) for row in rows.mappings()]
