"""Log lines of attempts: bounded per attempt, kept for the newest attempts of a job, deleted with it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.jobs import domain, sql
from services.jobs.domain import LogLine
from services.jobs.schema import attempt_logs

PAGE = 200
MAX_PAGE = 1_000

_APPEND = sql.prepared(f"""
WITH sent AS (
    SELECT * FROM json_to_recordset(CAST(:rows AS json)) AS s (
        job_id uuid, attempt integer, number integer, logged_at timestamptz, level text, logger text, text text)
), locked AS MATERIALIZED (
    SELECT a.job_id, a.attempt, a.log_lines, a.log_bytes FROM jobs.attempts a
    WHERE (a.job_id, a.attempt) IN (SELECT job_id, attempt FROM sent) AND (:is_end OR a.finished_at IS NULL)
        AND starts_with((SELECT j.kind FROM jobs.jobs j WHERE j.job_id = a.job_id), :kind_prefix)
    ORDER BY a.job_id, a.attempt FOR NO KEY UPDATE
), fitting AS MATERIALIZED (
    SELECT * FROM (
        SELECT s.*, octet_length(s.text) AS size,
            l.log_bytes + sum(octet_length(s.text)) OVER (PARTITION BY s.job_id, s.attempt ORDER BY s.number) AS bytes_after
        FROM sent s JOIN locked l ON l.job_id = s.job_id AND l.attempt = s.attempt
        WHERE s.number > l.log_lines AND s.number <= {domain.MAX_LOG_LINES}
    ) f WHERE f.bytes_after <= {domain.MAX_LOG_BYTES}
), stored AS (
    INSERT INTO jobs.attempt_logs (job_id, attempt, number, logged_at, level, logger, text)
    SELECT job_id, attempt, number, logged_at, level, logger, text FROM fitting
), counted AS (
    UPDATE jobs.attempts a SET log_lines = f.last, log_bytes = a.log_bytes + f.size
    FROM (SELECT job_id, attempt, max(number) AS last, sum(size) AS size FROM fitting GROUP BY job_id, attempt) f
    WHERE a.job_id = f.job_id AND a.attempt = f.attempt
), forgotten AS (
    DELETE FROM jobs.attempt_logs o USING locked l
    WHERE l.log_lines = 0 AND o.job_id = l.job_id AND o.attempt <= l.attempt - {domain.RECORDED_ATTEMPTS}
)
SELECT j.job_id, j.owner_id FROM locked l JOIN jobs.jobs j ON j.job_id = l.job_id
""")
"""Appends lines to attempts: those that are not stored yet and fit. Lines of an attempt that has ended come with its end only.

The first lines of an attempt delete those of attempts that are too old.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of lines, in order, and the position before which older ones are."""

    lines: Sequence[Mapping[str, Any]]
    before: tuple[int, int] | None


async def append(
    conn: AsyncConnection,
    lines: Mapping[tuple[UUID, int], Sequence[LogLine]],
    *,
    is_end: bool = False,
    kind_prefix: str = "",
) -> dict[UUID, UUID]:
    """Append lines to attempts by (job, attempt); return the owner of each job whose attempt was found.

    `is_end`: the transaction has ended the attempts, and so has locked their rows.
    """
    rows = [
        {
            "job_id": str(job_id),
            "attempt": attempt,
            "number": line.number,
            "logged_at": line.logged_at.isoformat(),
            "level": line.level,
            "logger": line.logger,
            "text": line.text,
        }
        for (job_id, attempt), of_attempt in lines.items()
        for line in of_attempt
    ]
    owners = await _APPEND.execute(conn, {"rows": json.dumps(rows), "is_end": is_end, "kind_prefix": kind_prefix})
    return {row[0]: row[1] for row in owners}


async def page(
    conn: AsyncConnection, job_id: UUID, *, attempt: int, before: tuple[int, int] | None, limit: int
) -> Page:
    """Return the newest lines of a job, or of one attempt if it is not 0, before a position (attempt, number)."""
    position = sa.tuple_(attempt_logs.c.attempt, attempt_logs.c.number)
    statement = sa.select(attempt_logs).where(attempt_logs.c.job_id == job_id)
    if attempt:
        statement = statement.where(attempt_logs.c.attempt == attempt)
    if before:
        statement = statement.where(position < sa.tuple_(*before))
    ordered = statement.order_by(attempt_logs.c.attempt.desc(), attempt_logs.c.number.desc()).limit(limit + 1)
    rows = [dict(row) for row in (await conn.execute(ordered)).mappings()]
    lines = rows[:limit][::-1]
    return Page(lines=lines, before=(lines[0]["attempt"], lines[0]["number"]) if len(rows) > limit else None)
