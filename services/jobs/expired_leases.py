"""Statements of the rescuer: held jobs whose lease has expired."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from services.jobs import outcomes, sql, storage
from services.jobs.domain import Job

_SECONDS_TO_LEASE_EXPIRY = sql.prepared(f"""
SELECT CAST(extract(epoch FROM min(lease_until) - now()) AS double precision) FROM jobs.jobs WHERE state IN {sql.HELD}
""")

_EXPIRED = f"FROM jobs.jobs j WHERE j.state IN {sql.HELD} AND j.lease_until < now()"
EXPIRED = sql.source("j", _EXPIRED)
_LOCK_JOBS_WITH_EXPIRED_LEASE = sql.prepared(f"""
SELECT {sql.light_columns("j")} {_EXPIRED} AND pg_postmaster_start_time() < now() - :grace
    AND {sql.selected("j")}
LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED
""")

_CLEARED = sql.prepared(f"""
WITH running AS MATERIALIZED ({sql.RUNNING_SUSPECTS})
SELECT r.job_id FROM running r WHERE r.job_id = ANY(:job_ids) AND r.has_outlived
    AND EXISTS (SELECT 1 FROM running s WHERE s.worker = r.worker AND NOT s.has_outlived)
""")


async def seconds_to_lease_expiry(conn: AsyncConnection) -> float | None:
    """Return the seconds until the next lease expires, negative if one has; None if no job is held."""
    ((seconds,),) = await _SECONDS_TO_LEASE_EXPIRY.execute(conn, {})
    return None if seconds is None else float(seconds)


async def jobs_with_expired_lease(
    conn: AsyncConnection, *, limit: int, grace: timedelta, selection: sql.Selection
) -> list[Job]:
    """Lock and return held jobs with an expired lease; none while the database is up for less than `grace`.

    After a restart of the database the workers get time to renew their leases.
    """
    parameters = {"limit": limit, "grace": grace, **selection.parameters}
    return await storage.execute(conn, _LOCK_JOBS_WITH_EXPIRED_LEASE, parameters)


async def cleared(conn: AsyncConnection, expired: Sequence[Job]) -> set[UUID]:
    """Return those of the locked jobs that are not the cause of the crash: another suspect of their worker is.

    They are suspects that have run for longer than when they crashed, beside the one that has not.
    """
    suspects = [job.job_id for job in expired if job.crashes >= outcomes.SUSPECT_CRASHES]
    rows = await _CLEARED.execute(conn, {"job_ids": suspects}) if suspects else ()
    return {job_id for (job_id,) in rows}
