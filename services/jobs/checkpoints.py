"""Checkpoints: named values that an attempt stores for later attempts, fenced like every write of a worker."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis import errors
from services.jobs import finish, sql
from services.jobs.schema import checkpoints

MAX_CHECKPOINTS = 1_000
MAX_NAME_LENGTH = 100
MIN_ATTEMPT_AGE = timedelta(minutes=1)
"""Age of an attempt from which its changed checkpoints are progress of the job."""
MAX_HISTORY_ROWS = 200
SHOWN_BYTES = 100
MAX_BYTES = 2 << 20
"""The size of all checkpoints of a job: one call returns them."""

_IS_HELD = f"job_id = :job_id AND attempt = :attempt AND state IN {sql.HELD} AND starts_with(kind, :kind_prefix)"
# The lock of the job's row orders a checkpoint of a superseded attempt: it is stored before the next claim, or not at all.
# Two share locks would wait for each other to update the row.
_LOCK = sql.prepared(f"SELECT 1 FROM jobs.jobs WHERE {_IS_HELD} FOR NO KEY UPDATE")
# A statement after the lock: it counts what the previous holder has saved.
_SAVE = sql.prepared("""
WITH v AS (
    SELECT value, octet_length(CAST(value AS text)) AS size FROM (SELECT CAST(:value AS jsonb) AS value) sent
), room AS (
    SELECT count(*) < :max AS is_left, coalesce(sum(size), 0) + (SELECT size FROM v) <= :max_bytes AS has_bytes
    FROM jobs.checkpoints WHERE job_id = :job_id AND name <> :name
), before AS (
    SELECT value FROM jobs.checkpoints WHERE job_id = :job_id AND name = :name
), saved AS (
    INSERT INTO jobs.checkpoints AS c (job_id, name, attempt, value, size, seconds, number)
    SELECT :job_id, :name, :attempt, v.value, v.size, CAST(:seconds AS double precision), :number FROM room, v
    WHERE room.is_left AND room.has_bytes
    ON CONFLICT (job_id, name) DO UPDATE SET attempt = excluded.attempt, value = excluded.value, size = excluded.size,
        seconds = excluded.seconds, number = excluded.number, saved_at = now()
    -- A call that a frozen replica executes late must not replace a later value of its attempt.
    WHERE c.attempt < excluded.attempt OR c.number <= excluded.number
    RETURNING c.job_id
), budgets_reset AS (
    -- A job that makes progress may crash and fail as often as a new one.
    UPDATE jobs.jobs j SET version = j.version + 1, crashes = 0,
        max_attempts = j.max_attempts + CASE WHEN EXISTS (SELECT 1 FROM before) THEN 0 ELSE j.errors END,
        errors = CASE WHEN EXISTS (SELECT 1 FROM before) THEN j.errors ELSE 0 END
    FROM saved WHERE j.job_id = saved.job_id AND (j.crashes > 0 OR j.errors > 0) AND (
        NOT EXISTS (SELECT 1 FROM before)
        -- A handler that repeats its work from the beginning makes no progress, so the attempt must have lasted.
        OR j.crashes > 0 AND (SELECT value FROM before) <> (SELECT value FROM v) AND EXISTS (
            SELECT 1 FROM jobs.attempts a WHERE a.job_id = :job_id AND a.attempt = :attempt
                AND a.started_at < now() - CAST(:lasting AS interval)))
)
SELECT is_left, has_bytes FROM room
""")
_GET = sa.select(checkpoints.c.name, checkpoints.c.value).where(checkpoints.c.job_id == sa.bindparam("job_id"))
_HELD = sa.text(f"SELECT 1 FROM jobs.jobs WHERE {_IS_HELD}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A value that an attempt saves; SaveCheckpointRequest in the protos documents each field."""

    name: str
    value: Any
    duration: timedelta | None = None
    number: int = 0

    def __post_init__(self) -> None:
        """Validate the bounds. Raises `InvalidArgument`."""
        if not 1 <= len(self.name) <= MAX_NAME_LENGTH or "\x00" in self.name:
            raise errors.InvalidArgument(f"name must be 1 to {MAX_NAME_LENGTH} characters, without NUL.", field="name")
        if self.number < 0:
            raise errors.InvalidArgument("number must not be below 0.", field="number")


async def save(conn: AsyncConnection, job_id: UUID, attempt: int, checkpoint: Checkpoint, *, kind_prefix: str) -> None:
    """Store a value, and end the transaction. Raises `lease_lost`, `too_many_checkpoints`, or `checkpoints_too_large`."""
    if not await _LOCK.execute(conn, {"job_id": job_id, "attempt": attempt, "kind_prefix": kind_prefix}):
        raise finish.lease_lost(job_id, attempt)
    seconds = checkpoint.duration.total_seconds() if checkpoint.duration is not None else None
    parameters = {
        "job_id": job_id,
        "attempt": attempt,
        "name": checkpoint.name,
        "value": json.dumps(checkpoint.value),
        "seconds": seconds,
        "number": checkpoint.number,
        "max": MAX_CHECKPOINTS,
        "max_bytes": MAX_BYTES,
        "lasting": MIN_ATTEMPT_AGE,
    }
    ((is_left, has_bytes),) = await _SAVE.execute(conn, parameters, commit=True)
    if not is_left:
        raise errors.ResourceExhausted(
            f"A job keeps at most {MAX_CHECKPOINTS} checkpoints.", code="too_many_checkpoints"
        )
    if not has_bytes:
        raise errors.ResourceExhausted(
            f"A job keeps at most {MAX_BYTES} bytes of checkpoints.", code="checkpoints_too_large"
        )


async def history(conn: AsyncConnection, job_id: UUID) -> Sequence[Mapping[str, Any]]:
    """Return when the newest checkpoints were saved, oldest first; of small values also the JSON."""
    text = sa.cast(checkpoints.c.value, sa.Text)
    value = sa.case((checkpoints.c.size <= SHOWN_BYTES, text)).label("value")
    columns = (checkpoints.c.name, checkpoints.c.attempt, checkpoints.c.saved_at, checkpoints.c.seconds, value)
    statement = sa.select(*columns).where(checkpoints.c.job_id == job_id).order_by(checkpoints.c.saved_at.desc())
    return [dict(row) for row in (await conn.execute(statement.limit(MAX_HISTORY_ROWS))).mappings()][::-1]


async def get(conn: AsyncConnection, job_id: UUID, attempt: int, *, kind_prefix: str) -> dict[str, Any]:
    """Return all values. Raises `lease_lost`."""
    parameters = {"job_id": job_id, "attempt": attempt, "kind_prefix": kind_prefix}
    if (await conn.execute(_HELD, parameters)).first() is None:
        raise finish.lease_lost(job_id, attempt)
    return {row.name: row.value for row in await conn.execute(_GET, {"job_id": job_id})}
