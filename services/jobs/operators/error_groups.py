"""Failed jobs, grouped by what went wrong: kind, error code and fingerprint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import postgres
from services.jobs import domain, sql

SCAN = 20_000
"""The newest failed jobs that are grouped."""
MAX_GROUPS = 100
HOURS = 24

_GROUPS = sql.prepared(f"""
WITH failed AS MATERIALIZED (
    SELECT j.job_id, j.owner_id, j.kind, j.error_code, j.finished_at, coalesce(a.fingerprint, '') AS fingerprint,
        coalesce(a.exception_type, '') AS exception_type, coalesce(a.place, '') AS place,
        coalesce(nullif(a.exception_message, ''), j.error_message) AS message,
        floor(extract(epoch FROM now() - j.finished_at) / 3600)::integer AS hours_ago
    FROM (
        SELECT * FROM jobs.jobs WHERE state = '{domain.State.FAILED}' AND (:kind = '' OR kind = :kind)
        ORDER BY job_id DESC LIMIT :scan
    ) j LEFT JOIN LATERAL (
        -- The limit makes the planner probe the index instead of reading all attempts.
        SELECT * FROM jobs.attempts a WHERE a.job_id = j.job_id AND a.attempt = j.attempt LIMIT 1
    ) a ON true
), hours AS (
    SELECT kind, error_code, fingerprint, hours_ago, count(*) AS jobs FROM failed WHERE hours_ago < {HOURS} GROUP BY 1, 2, 3, 4
), grouped AS (
    SELECT kind, error_code, fingerprint, count(*) AS jobs,
        count(DISTINCT owner_id) FILTER (WHERE owner_id <> '{domain.SYSTEM}') AS owners,
        min(finished_at) AS first_at, max(finished_at) AS last_at,
        (array_agg(job_id ORDER BY finished_at DESC, job_id DESC))[1] AS last_job_id
    FROM failed GROUP BY 1, 2, 3 ORDER BY max(finished_at) DESC LIMIT :limit
)
SELECT g.kind, g.error_code, g.fingerprint, f.exception_type, f.place, f.message, g.jobs, g.owners, g.first_at, g.last_at, ARRAY(
    SELECT coalesce(max(h.jobs), 0)::integer FROM generate_series({HOURS - 1}, 0, -1) n
    LEFT JOIN hours h ON h.kind = g.kind AND h.error_code = g.error_code AND h.fingerprint = g.fingerprint AND h.hours_ago = n
    GROUP BY n ORDER BY n DESC), g.last_job_id
FROM grouped g JOIN failed f ON f.job_id = g.last_job_id ORDER BY g.last_at DESC, g.kind
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorGroup:
    """Failed jobs with the same cause; see ErrorGroup in the protos."""

    kind: str
    code: str
    fingerprint: str
    exception_type: str
    place: str
    message: str
    count: int
    owner_count: int
    first_at: datetime
    last_at: datetime
    trend: Sequence[int]
    last_job_id: UUID


_NAMES = tuple(ErrorGroup.__dataclass_fields__)


class ErrorGroups:
    """Reads groups of failed jobs."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._single = postgres.autocommit(engine)

    async def list_all(self, *, kind: str = "") -> list[ErrorGroup]:
        """Return the groups of one kind or of all, the latest failure first."""
        async with self._single.connect() as conn:
            rows = await _GROUPS.execute(conn, {"kind": kind, "scan": SCAN, "limit": MAX_GROUPS})
        return [ErrorGroup(**dict(zip(_NAMES, row, strict=True))) for row in rows]
