"""Back-pressure: submits are refused while their owner has too many unfinished jobs of the kind, or one that nobody claims."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import errors, postgres
from services.jobs import domain, worker_versions

MAX_JOBS = 100_000
"""Unfinished jobs of one kind and owner; between two measurements more may be stored."""
MAX_AGE = timedelta(days=1)
"""The time for which a job of a paused kind, or of one without a worker, may be ready before its owner can submit no more."""
MEASURE_SECONDS = 10.0
_MAX_REFUSED = 10_000

# The number of an owner's jobs is counted in an index; only those of an owner with many are read. While workers run a kind, an
# old job says nothing: the database may refuse to claim it. In the order of claims the first job of each owner comes early.
_FULL = sa.text("""
    WITH large AS MATERIALIZED (
        SELECT owner_id FROM jobs.jobs WHERE finished_at IS NULL GROUP BY owner_id HAVING count(*) >= :max_jobs)
    (SELECT j.kind, j.owner_id FROM large JOIN jobs.jobs j ON j.owner_id = large.owner_id AND j.finished_at IS NULL
        GROUP BY j.kind, j.owner_id HAVING count(*) >= :max_jobs LIMIT :limit)
    UNION (SELECT DISTINCT k.kind, w.owner_id FROM jobs.kinds k CROSS JOIN LATERAL (
            SELECT j.owner_id, j.run_at FROM jobs.jobs j WHERE j.kind = k.kind AND j.ready
            ORDER BY j.priority DESC, j.fair_rank, j.job_id LIMIT :max_jobs) w
        WHERE (k.paused_at IS NOT NULL OR k.declared_at IS NULL OR k.declared_at < now() - :alive)
            AND w.run_at < now() - :max_age LIMIT :limit)
""").bindparams(sa.bindparam("max_age", type_=sa.Interval), sa.bindparam("alive", worker_versions.ALIVE, sa.Interval))


class Backlog:
    """The owners whose submits a replica refuses, by kind; measured in the background, so that submits pay nothing."""

    def __init__(self, engine: AsyncEngine, *, max_jobs: int = MAX_JOBS) -> None:
        self._single = postgres.autocommit(engine)
        self._parameters = {"max_jobs": max_jobs, "max_age": MAX_AGE, "limit": _MAX_REFUSED}
        self._full: frozenset[tuple[str, UUID]] = frozenset()

    async def measure(self) -> None:
        """Find the owners with too many or too old jobs of a kind."""
        async with self._single.connect() as conn:
            rows = await conn.execute(_FULL, self._parameters)
        self._full = frozenset((row.kind, row.owner_id) for row in rows)

    def refusal(self, spec: domain.Spec) -> errors.ResourceExhausted | None:
        """Return the error of a submit of this spec, if it has to wait."""
        if (spec.kind, spec.owner_id) not in self._full:
            return None
        return errors.ResourceExhausted(
            "You have too many waiting jobs of this type. Try again later.",
            code="queue_full",
            details={"retry_after_seconds": str(round(2 * MEASURE_SECONDS))},
        )
