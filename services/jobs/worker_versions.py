"""Versions of a program that run at the same time, as during a rolling restart.

The age of a version is that of its first registered living worker, by the database's clock. The newest version of a kind
decides its settings and schedules. A version that returns after a rollback is the newest as soon as its earlier workers count
as gone.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.jobs import sql

ALIVE = timedelta(minutes=2)
"""A worker is gone when it has not registered for this time. Workers register every 30 s."""
ROLLOUT = timedelta(minutes=15)
"""An older version postpones jobs with payloads that it cannot read, for this time after the start of a newer one."""
POSTPONE = timedelta(seconds=5)

# Serializes the registrations of one service, so that none overwrites settings that a newer version stores meanwhile.
_LOCK = sql.prepared("SELECT pg_advisory_xact_lock(hashtextextended('jobs.workers ' || :service, 0))")
_VERSIONS = """
    WITH versions AS (
        SELECT kind, version, min(registered_at) AS since FROM jobs.workers, unnest(kinds) AS kind
        WHERE seen_at > now() - :alive GROUP BY kind, version
    )
"""
_KINDS_OF_NEWER = sql.prepared(f"""{_VERSIONS}
    SELECT DISTINCT own.kind FROM versions own JOIN versions newer ON newer.kind = own.kind AND newer.since > own.since
    WHERE own.version = :version
""")
_WITH_NEWER_WORKERS = sa.text(f"""{_VERSIONS}
    SELECT j.job_id FROM jobs.jobs j
    JOIN jobs.workers w ON w.worker = j.worker
    JOIN versions own ON own.kind = j.kind AND own.version = w.version
    WHERE j.job_id = ANY(:job_ids) AND EXISTS (
        SELECT FROM versions newer
        WHERE newer.kind = j.kind AND newer.since > own.since AND newer.since > now() - :rollout)
""").bindparams(sa.bindparam("alive", ALIVE, type_=sa.Interval), sa.bindparam("rollout", ROLLOUT, type_=sa.Interval))


async def lock(conn: AsyncConnection, kinds: Collection[str]) -> None:
    """Wait for other registrations of the services of these kinds."""
    for service in sorted({kind.partition(".")[0] for kind in kinds}):
        await _LOCK.execute(conn, {"service": service})


async def kinds_of_newer(conn: AsyncConnection, version: str) -> frozenset[str]:
    """Return the kinds of a version that workers of a newer version handle too."""
    rows = await _KINDS_OF_NEWER.execute(conn, {"version": version, "alive": ALIVE})
    return frozenset(kind for (kind,) in rows)


async def with_newer_workers(conn: AsyncConnection, job_ids: Collection[UUID]) -> frozenset[UUID]:
    """Return the running jobs whose kind has a version newer than their worker's, started within the last `ROLLOUT`."""
    return frozenset((await conn.execute(_WITH_NEWER_WORKERS, {"job_ids": list(job_ids)})).scalars())
