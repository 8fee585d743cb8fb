"""Checkpoints: named values that an attempt stores for later attempts, fenced like every write of a worker."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis import errors
from services.jobs import finish, statements
from services.jobs.schema import checkpoints

MAX_CHECKPOINTS = 1_000
MAX_NAME_LENGTH = 100
LASTING = timedelta(minutes=1)
"""Age of an attempt from which its changed checkpoints are progress of the job."""

# The lock of the job's row orders a checkpoint of a stale attempt: it is stored before the next claim, or not at all.
_SAVE = sa.text(f"""
WITH held AS (
    SELECT job_id FROM jobs.jobs
    WHERE job_id = :job_id AND attempt = :attempt AND state IN {statements.HELD} FOR SHARE
), room AS (
    SELECT count(*) FILTER (WHERE name <> :name) < :max AS is_left FROM jobs.checkpoints WHERE job_id = :job_id
), before AS (
    SELECT value FROM jobs.checkpoints WHERE job_id = :job_id AND name = :name
), saved AS (
    INSERT INTO jobs.checkpoints (job_id, name, attempt, value)
    SELECT held.job_id, :name, :attempt, :value FROM held, room WHERE room.is_left
    ON CONFLICT (job_id, name) DO UPDATE SET attempt = excluded.attempt, value = excluded.value, saved_at = now()
    RETURNING job_id
), healed AS (
    -- A job that gets on may crash and fail as often as a new one.
    UPDATE jobs.jobs j SET version = j.version + 1, crashes = 0,
        max_attempts = j.max_attempts + CASE WHEN EXISTS (SELECT 1 FROM before) THEN 0 ELSE j.errors END,
        errors = CASE WHEN EXISTS (SELECT 1 FROM before) THEN j.errors ELSE 0 END
    FROM saved WHERE j.job_id = saved.job_id AND (j.crashes > 0 OR j.errors > 0) AND (
        NOT EXISTS (SELECT 1 FROM before)
        -- A handler that repeats its work from the beginning does not get on, so the attempt must have lasted.
        OR j.crashes > 0 AND (SELECT value FROM before) <> :value AND EXISTS (
            SELECT 1 FROM jobs.attempts a WHERE a.job_id = :job_id AND a.attempt = :attempt
                AND a.started_at < now() - CAST(:lasting AS interval)))
)
SELECT EXISTS (SELECT 1 FROM held), EXISTS (SELECT 1 FROM saved)
""").bindparams(sa.bindparam("value", type_=JSONB))
_GET = sa.select(checkpoints.c.name, checkpoints.c.value).where(checkpoints.c.job_id == sa.bindparam("job_id"))
_HELD = sa.text(f"SELECT 1 FROM jobs.jobs WHERE job_id = :job_id AND attempt = :attempt AND state IN {statements.HELD}")


async def save(conn: AsyncConnection, job_id: UUID, attempt: int, name: str, value: Any) -> None:
    """Store a value. Raises `lease_lost`, or `too_many_checkpoints`."""
    if not 1 <= len(name) <= MAX_NAME_LENGTH or "\x00" in name:
        raise errors.InvalidArgument(f"name must be 1 to {MAX_NAME_LENGTH} characters, without NUL.", field="name")
    parameters = {"job_id": job_id, "attempt": attempt, "name": name, "value": value}
    parameters |= {"max": MAX_CHECKPOINTS, "lasting": LASTING}
    is_held, is_saved = (await conn.execute(_SAVE, parameters)).one()
    if not is_held:
        raise finish.lease_lost(job_id, attempt)
    if not is_saved:
        raise errors.ResourceExhausted(
            f"A job keeps at most {MAX_CHECKPOINTS} checkpoints.", code="too_many_checkpoints"
        )


async def get(conn: AsyncConnection, job_id: UUID, attempt: int) -> dict[str, Any]:
    """Return all values. Raises `lease_lost`."""
    if (await conn.execute(_HELD, {"job_id": job_id, "attempt": attempt})).first() is None:
        raise finish.lease_lost(job_id, attempt)
    return {row.name: row.value for row in await conn.execute(_GET, {"job_id": job_id})}
