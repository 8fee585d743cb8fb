"""Statements of the reconciler: due, overdue and overrun jobs, fair ranks."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from services.jobs import domain, sql, storage
from services.jobs.domain import Action, Job, State

_FIND_WORK = sql.prepared(f"""
SELECT
    coalesce(t.run_at <= now(), false) AS due,
    coalesce(t.deadline <= now(), false) AS overdue, EXISTS (SELECT 1 FROM jobs.jobs WHERE ready) AS has_ready_jobs,
    CAST(extract(epoch FROM least(t.run_at, t.deadline) - now()) AS double precision) AS seconds_to_next
FROM (SELECT
    (SELECT min(run_at) FROM jobs.jobs
        WHERE state IN {sql.DELAYED} AND NOT ready AND NOT awaits_children) AS run_at,
    (SELECT min(deadline) FROM jobs.jobs
        WHERE deadline IS NOT NULL AND state IN {sql.UNCLAIMED}) AS deadline) t
""")
"""Whether the reconciler has work, and when the next work is due: one query instead of a transaction for each task."""

_IS_DUE = "NOT ready AND NOT awaits_children AND run_at <= now()"
_IS_OVERDUE = f"deadline IS NOT NULL AND deadline <= now() AND state IN {sql.UNCLAIMED}"
SCHEDULED = sql.source("j", f"FROM jobs.jobs j WHERE state = '{State.SCHEDULED}' AND {_IS_DUE}")
RETRIES = sql.source("j", f"FROM jobs.jobs j WHERE state = {sql.target_of(Action.RETRY_LATER)} AND {_IS_DUE}")
OVERDUE = sql.source("j", f"FROM jobs.jobs j WHERE {_IS_OVERDUE}")
_SELECTED = sql.selected("j")

_OVERRUN = f"""FROM jobs.jobs j JOIN jobs.attempts a ON a.job_id = j.job_id AND a.attempt = j.attempt
WHERE j.state IN {sql.HELD} AND a.started_at < now() - j.attempt_timeout
    - interval '{domain.OVERRUN_GRACE.total_seconds()} seconds'"""
OVERRUN = sql.source("j", _OVERRUN)
_LOCK_OVERRUN_JOBS = sql.prepared(f"""
SELECT {sql.light_columns("j")} {_OVERRUN} AND {_SELECTED}
LIMIT :limit FOR NO KEY UPDATE OF j SKIP LOCKED
""")

_DUE = f"""
WITH due AS MATERIALIZED (
    SELECT job_id, kind, owner_id, run_at AS position FROM jobs.jobs j
    WHERE state IN {sql.DELAYED} AND {_IS_DUE} AND state = {{state}}
        AND {_SELECTED}
    ORDER BY run_at LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED
), {sql.ranked("due", behind=1)}
"""
_PROMOTE_JOBS = sql.prepared(f"""{_DUE.format(state=f"'{State.SCHEDULED}'")}
UPDATE jobs.jobs j SET state = {sql.target_of(Action.PROMOTE)}, ready = j.concurrency_key IS NULL, fair_rank = r.fair_rank,
    version = j.version + 1
FROM ranked r
WHERE j.state IN {sql.sources_of(Action.PROMOTE)} AND j.job_id = ANY(ARRAY(SELECT job_id FROM ranked)) AND j.job_id = r.job_id
RETURNING {sql.light_columns("j")}
""")
"""Makes scheduled jobs pending whose run_at has passed."""

_READY_RETRIES = sql.prepared(f"""{_DUE.format(state=sql.target_of(Action.RETRY_LATER))}
UPDATE jobs.jobs j SET ready = true, fair_rank = r.fair_rank FROM ranked r
WHERE j.state = {sql.target_of(Action.RETRY_LATER)} AND j.job_id = ANY(ARRAY(SELECT job_id FROM ranked)) AND j.job_id = r.job_id
RETURNING j.kind
""")
"""Makes retrying jobs ready whose backoff is over."""

_FAIL_OVERDUE_JOBS = sql.prepared(f"""
UPDATE jobs.jobs j SET state = {sql.target_of(Action.FAIL_OVERDUE)}, ready = false, awaits_children = false, finished_at = now(),
    error_code = :code, error_message = :message, version = j.version + 1
WHERE j.state IN {sql.sources_of(Action.FAIL_OVERDUE)} AND j.job_id = ANY(ARRAY(
    SELECT job_id FROM jobs.jobs j
    WHERE {_IS_OVERDUE} AND {_SELECTED}
    ORDER BY deadline LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED))
RETURNING {sql.light_columns("j")}
""")
"""Fails waiting jobs whose deadline has passed."""


_READY_KINDS = sql.prepared("""
SELECT k.kind FROM jobs.kinds k WHERE EXISTS (SELECT 1 FROM jobs.jobs j WHERE j.kind = k.kind AND j.ready)
""")
"""Kinds with a ready job."""

_ADVANCE_FAIR_RANKS = sql.prepared(f"""
UPDATE jobs.kinds k SET fair_rank = f.fair_rank
FROM (
    SELECT behind.kind, coalesce(front.fair_rank, claimed.fair_rank + 1) AS fair_rank FROM jobs.kinds behind
    LEFT JOIN unnest(CAST(:kinds AS text[]), CAST(:ranks AS bigint[])) AS claimed (kind, fair_rank)
        ON claimed.kind = behind.kind
    LEFT JOIN LATERAL (
        SELECT j.fair_rank FROM jobs.jobs j
        WHERE j.kind = behind.kind AND j.ready AND j.job_id <> ALL(CAST(:refused AS uuid[])) AND NOT {sql.is_suspect("j")}
        ORDER BY j.priority DESC, j.fair_rank, j.job_id LIMIT 1
    ) front ON true
    WHERE coalesce(front.fair_rank, claimed.fair_rank + 1) > behind.fair_rank
    -- Waiting for a transaction that has locked several kinds could deadlock; the next pass is soon enough.
    FOR NO KEY UPDATE OF behind SKIP LOCKED
) f
WHERE k.kind = f.kind AND k.fair_rank < f.fair_rank
""")
"""Advances the fair rank of each kind to that of its next job, or beyond the highest claimed rank if no job is ready.

A job that the database refuses to claim, or a suspect that waits for another one, is no next job: it would hold the rank, and all
jobs submitted since would overtake those that wait.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingWork:
    """The work that the reconciler finds."""

    due: bool
    """The run_at of a scheduled or retrying job has passed."""
    overdue: bool
    """The deadline of a waiting job has passed."""
    has_ready_jobs: bool
    """A job is ready, so fair ranks may have to advance."""
    seconds_to_next: float | None
    """Seconds until the next run_at or deadline; None if no job has one."""


async def find_work(conn: AsyncConnection) -> PendingWork:
    ((due, overdue, has_ready_jobs, seconds_to_next),) = await _FIND_WORK.execute(conn, {})
    return PendingWork(due=due, overdue=overdue, has_ready_jobs=has_ready_jobs, seconds_to_next=seconds_to_next)


async def overrun_jobs(conn: AsyncConnection, *, limit: int, selection: sql.Selection) -> list[Job]:
    """Lock and return held jobs whose attempt has outlived its timeout by `domain.OVERRUN_GRACE`."""
    return await storage.execute(conn, _LOCK_OVERRUN_JOBS, {"limit": limit, **selection.parameters})


async def promote_due(conn: AsyncConnection, *, limit: int, selection: sql.Selection) -> list[Job]:
    """Make scheduled jobs pending whose run_at has passed."""
    return await storage.execute(conn, _PROMOTE_JOBS, {"limit": limit, **selection.parameters})


async def ready_retries(conn: AsyncConnection, *, limit: int, selection: sql.Selection) -> list[str]:
    """Make retrying jobs ready whose backoff is over; return the kind of each."""
    return [kind for (kind,) in await _READY_RETRIES.execute(conn, {"limit": limit, **selection.parameters})]


async def fail_overdue(conn: AsyncConnection, *, limit: int, selection: sql.Selection) -> list[Job]:
    """Fail waiting jobs whose deadline has passed."""
    error = domain.DEADLINE_EXCEEDED
    parameters = {"limit": limit, **selection.parameters, "code": error.code, "message": error.message}
    return await storage.execute(conn, _FAIL_OVERDUE_JOBS, parameters)


async def ready_kinds(conn: AsyncConnection) -> list[str]:
    return [kind for (kind,) in await _READY_KINDS.execute(conn, {})]


async def advance_fair_ranks(conn: AsyncConnection, claimed: Mapping[str, int], refused: Collection[UUID]) -> None:
    """Advance the fair rank of each kind to that of its next job, or beyond the rank in `claimed` if no job is ready.

    `refused` are the jobs that cannot be claimed.
    """
    parameters = {"kinds": list(claimed), "ranks": list(claimed.values()), "refused": list(refused)}
    await _ADVANCE_FAIR_RANKS.execute(conn, parameters)
