"""Jobs whose rows this program cannot read: a later release or an operator wrote values outside its types.

A statement over many jobs must not fail because of one of them. `Unreadable.retry_after_repair` fails the unreadable jobs among
the candidates of such a statement with `unreadable`, brings their values into the bounds of this program, and repeats it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TypeVar
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.exc import DataError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from chassis import postgres
from chassis.prepared import Prepared
from services.jobs import domain, schema, sql, storage
from services.jobs.transaction import Transaction

logger = logging.getLogger(__name__)

Result = TypeVar("Result")
Candidates = Callable[[AsyncConnection], Awaitable[Collection[UUID]]]

MAX_CANDIDATES = 1_000
ERROR = domain.JobError(code="unreadable", message="The job's stored values are outside the bounds of this program.")


def _clamp(column: str, least: str, most: str) -> str:
    """Return the assignment that brings a column into bounds; NULL stays NULL."""
    return f"{column} = CASE WHEN {column} IS NOT NULL THEN least(greatest({column}, '{least}'), '{most}') END"


_LONGEST = {
    "backoff": "1 hour",
    "max_backoff": "24 hours",
    "attempt_timeout": "24 hours",
    "total_timeout": "30 days",
}
_TIMES = ("run_at", "hold_run_at", "created_at", "scheduled_at", "deadline", "started_at", "read_at", "progress_at")
_FIRST, _LAST = "0001-01-02 UTC", "9998-12-31 UTC"
_REPAIRED = ", ".join(
    [
        *(_clamp(column, "1 millisecond", most) for column, most in _LONGEST.items()),
        *(_clamp(column, _FIRST, _LAST) for column in _TIMES),
        "payload = CASE WHEN :drop_values THEN '{}' ELSE payload END",
        "result = CASE WHEN :drop_values AND result IS NOT NULL THEN '{}' ELSE result END",
        "progress_rate = NULL",
    ]
)
_columns = ", ".join(f"jobs.{column.name}" for column in schema.jobs.c)
_FAIL = Prepared(
    sa.text(f"""
WITH failed AS (
    UPDATE jobs.jobs SET state = '{domain.State.FAILED}', ready = false, awaits_children = false, worker = NULL,
        lease_until = NULL, cancel_reason = NULL, finished_at = now(), error_code = :code, error_message = :message,
        version = version + 1, {_REPAIRED}
    WHERE job_id = ANY(:job_ids) AND state NOT IN {sql.FINISHED}
    RETURNING {_columns}
), ended AS (
    UPDATE jobs.attempts a SET finished_at = now(), outcome = 'failed', error_code = :code, error_message = :message
    FROM failed f WHERE a.job_id = f.job_id AND a.attempt = f.attempt AND a.finished_at IS NULL
)
SELECT * FROM failed
""")
)
_REPAIR = Prepared(
    sa.text(f"""
UPDATE jobs.jobs SET {_clamp("finished_at", _FIRST, _LAST)}, {_REPAIRED}
WHERE job_id = ANY(:job_ids) AND state IN {sql.FINISHED}
""")
)
_CLAIM_CANDIDATES = sa.text("""
SELECT c.job_id FROM unnest(CAST(:kinds AS text[])) AS requested (kind) CROSS JOIN LATERAL (
    SELECT j.job_id FROM jobs.jobs j
    WHERE j.kind = requested.kind AND j.ready AND j.job_id <> ALL(CAST(:excluded AS uuid[]))
    ORDER BY j.priority DESC, j.fair_rank, j.job_id LIMIT :limit) c
""")


class Unreadable:
    """Fails and repairs unreadable jobs."""

    def __init__(
        self, engine: AsyncEngine, transaction: Callable[[], AbstractAsyncContextManager[Transaction]]
    ) -> None:
        self._single = postgres.autocommit(engine)
        self._transaction = transaction

    async def retry_after_repair(self, work: Callable[[], Awaitable[Result]], candidates: Candidates) -> Result:
        """Await `work()`; if it meets an unreadable row, repair the unreadable jobs among `candidates` and repeat it once."""
        try:
            return await work()
        except Exception as error:
            if not is_unreadable(error):
                raise
            async with self._single.connect() as conn:
                job_ids = await candidates(conn)
            if not await self.repair(job_ids):
                raise
        return await work()

    async def repair(self, job_ids: Collection[UUID]) -> int:
        """Fail the unreadable jobs among these and repair their values; return their number."""
        if unreadable := await self._unreadable(job_ids):
            logger.error("unreadable jobs failed", extra={"job_ids": [str(job_id) for job_id in unreadable]})
            try:
                await self._fail(unreadable, drop_values=False)
            except Exception as error:
                if not is_unreadable(error):
                    raise
                # Payload or result are unreadable as well.
                await self._fail(unreadable, drop_values=True)
        return len(unreadable)

    async def _fail(self, job_ids: list[UUID], *, drop_values: bool) -> None:
        parameters = {"job_ids": job_ids, "drop_values": drop_values}
        error = {"code": ERROR.code, "message": ERROR.message}
        async with self._transaction() as tx:
            failed = await storage.execute(tx.conn, _FAIL, parameters | error)
            tx.transitions += [(job, ERROR.code) for job in failed]
            await _REPAIR.execute(tx.conn, parameters)
            await storage.get_jobs(tx.conn, job_ids)

    async def _unreadable(self, job_ids: Collection[UUID]) -> list[UUID]:
        return [job_id for job_id in list(job_ids)[:MAX_CANDIDATES] if not await self._is_readable(job_id)]

    async def _is_readable(self, job_id: UUID) -> bool:
        try:
            async with self._single.connect() as conn:
                await storage.get_job(conn, job_id)
        except Exception as error:
            if is_unreadable(error):
                return False
            raise
        return True


def is_unreadable(error: Exception) -> bool:
    """Return whether the error is one of decoding a row in this process, not one of the database."""
    if isinstance(error, DataError):
        return getattr(error.orig, "sqlstate", None) is None
    return isinstance(error, (ValueError, ArithmeticError, RecursionError))


def claim_candidates(kinds: Collection[str], limit: int, excluded: Collection[UUID]) -> Candidates:
    """Return the jobs that a claim would take: the first `limit` ready jobs of each kind without the excluded ones."""
    return partial(_select, _CLAIM_CANDIDATES, {"kinds": list(kinds), "limit": limit, "excluded": list(excluded)})


def candidates_from_ids(job_ids: Collection[UUID]) -> Candidates:
    async def candidates(_: AsyncConnection) -> Collection[UUID]:
        return job_ids

    return candidates


async def _select(statement: sa.TextClause, parameters: dict[str, object], conn: AsyncConnection) -> list[UUID]:
    return list((await conn.execute(statement, parameters)).scalars())
