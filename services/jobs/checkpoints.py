"""Checkpoints: named values that an attempt stores for later attempts, fenced like every write of a worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis import errors
from services.jobs import finish, sql
from services.jobs.schema import checkpoints

MAX_CHECKPOINTS = 1_000
MAX_NAME_LENGTH = 100
LASTING = timedelta(minutes=1)
"""Age of an attempt from which its changed checkpoints are progress of the job."""
HISTORY = 200
SHOWN_BYTES = 100
MAX_BYTES = 2 << 20
"""The size of all checkpoints of a job: one call returns them."""

# The lock of the job's row orders a checkpoint of a stale attempt: it is stored before the next claim, or not at all.
_SAVE = sa.text(f"""
WITH held AS (
    SELECT job_id FROM jobs.jobs
    WHERE job_id = :job_id AND attempt = :attempt AND state IN {sql.HELD} FOR SHARE
), v AS (
    SELECT value, octet_length(CAST(value AS text)) AS size FROM (SELECT CAST(:value AS jsonb) AS value) sent
), room AS (
    SELECT count(*) < :max AS is_left, coalesce(sum(size), 0) + (SELECT size FROM v) <= :max_bytes AS has_bytes
    FROM jobs.checkpoints WHERE job_id = :job_id AND name <> :name
), before AS (
    SELECT value FROM jobs.checkpoints WHERE job_id = :job_id AND name = :name
), saved AS (
    INSERT INTO jobs.checkpoints (job_id, name, attempt, value, size, seconds)
    SELECT held.job_id, :name, :attempt, v.value, v.size, :seconds FROM held, room, v
    WHERE room.is_left AND room.has_bytes
    ON CONFLICT (job_id, name) DO UPDATE SET attempt = excluded.attempt, value = excluded.value, size = excluded.size,
        seconds = excluded.seconds, saved_at = now()
    RETURNING job_id
), healed AS (
    -- A job that gets on may crash and fail as often as a new one.
    UPDATE jobs.jobs j SET version = j.version + 1, crashes = 0,
        max_attempts = j.max_attempts + CASE WHEN EXISTS (SELECT 1 FROM before) THEN 0 ELSE j.errors END,
        errors = CASE WHEN EXISTS (SELECT 1 FROM before) THEN j.errors ELSE 0 END
    FROM saved WHERE j.job_id = saved.job_id AND (j.crashes > 0 OR j.errors > 0) AND (
        NOT EXISTS (SELECT 1 FROM before)
        -- A handler that repeats its work from the beginning does not get on, so the attempt must have lasted.
        OR j.crashes > 0 AND (SELECT value FROM before) <> (SELECT value FROM v) AND EXISTS (
            SELECT 1 FROM jobs.attempts a WHERE a.job_id = :job_id AND a.attempt = :attempt
                AND a.started_at < now() - CAST(:lasting AS interval)))
)
SELECT EXISTS (SELECT 1 FROM held), EXISTS (SELECT 1 FROM saved), (SELECT is_left FROM room)
""").bindparams(sa.bindparam("value", type_=JSONB), sa.bindparam("seconds", type_=sa.Double))
_GET = sa.select(checkpoints.c.name, checkpoints.c.value).where(checkpoints.c.job_id == sa.bindparam("job_id"))
_HELD = sa.text(f"SELECT 1 FROM jobs.jobs WHERE job_id = :job_id AND attempt = :attempt AND state IN {sql.HELD}")


async def save(
    conn: AsyncConnection, job_id: UUID, attempt: int, name: str, value: Any, duration: timedelta | None = None
) -> None:
    """Store a value. Raises `lease_lost`, `too_many_checkpoints`, or `checkpoints_too_large`."""
    if not 1 <= len(name) <= MAX_NAME_LENGTH or "\x00" in name:
        raise errors.InvalidArgument(f"name must be 1 to {MAX_NAME_LENGTH} characters, without NUL.", field="name")
    parameters = {"job_id": job_id, "attempt": attempt, "name": name, "value": value}
    parameters |= {"max": MAX_CHECKPOINTS, "max_bytes": MAX_BYTES, "lasting": LASTING}
    parameters["seconds"] = duration.total_seconds() if duration is not None else None
    is_held, is_saved, is_left = (await conn.execute(_SAVE, parameters)).one()
    if not is_held:
        raise finish.lease_lost(job_id, attempt)
    if not is_left:
        raise errors.ResourceExhausted(
            f"A job keeps at most {MAX_CHECKPOINTS} checkpoints.", code="too_many_checkpoints"
        )
    if not is_saved:
        raise errors.ResourceExhausted(
            f"A job keeps at most {MAX_BYTES} bytes of checkpoints.", code="checkpoints_too_large"
        )


async def history(conn: AsyncConnection, job_id: UUID) -> Sequence[Mapping[str, Any]]:
    """Return when the newest checkpoints were saved, oldest first; of small values also the JSON."""
    text = sa.cast(checkpoints.c.value, sa.Text)
    value = sa.case((checkpoints.c.size <= SHOWN_BYTES, text)).label("value")
    columns = (checkpoints.c.name, checkpoints.c.attempt, checkpoints.c.saved_at, checkpoints.c.seconds, value)
    statement = sa.select(*columns).where(checkpoints.c.job_id == job_id).order_by(checkpoints.c.saved_at.desc())
    return [dict(row) for row in (await conn.execute(statement.limit(HISTORY))).mappings()][::-1]


async def get(conn: AsyncConnection, job_id: UUID, attempt: int) -> dict[str, Any]:
    """Return all values. Raises `lease_lost`."""
    if (await conn.execute(_HELD, {"job_id": job_id, "attempt": attempt})).first() is None:
        raise finish.lease_lost(job_id, attempt)
    return {row.name: row.value for row in await conn.execute(_GET, {"job_id": job_id})}
