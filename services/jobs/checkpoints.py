"""What attempts keep for those after them: values by name, fenced like every write of a worker."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis import errors
from services.jobs import finish
from services.jobs.schema import checkpoints

MOST = 1_000
NAME_LENGTH = 100

# The job's row is locked: a checkpoint of an attempt that is being overtaken is either before the next claim, or nowhere.
_SAVE = sa.text("""
WITH held AS (
    SELECT job_id FROM jobs.jobs
    WHERE job_id = :job_id AND attempt = :attempt AND state IN ('running', 'cancelling') FOR SHARE
), room AS (
    SELECT count(*) FILTER (WHERE name <> :name) < :most AS is_there FROM jobs.checkpoints WHERE job_id = :job_id
), saved AS (
    INSERT INTO jobs.checkpoints (job_id, name, attempt, value)
    SELECT held.job_id, :name, :attempt, :value FROM held, room WHERE room.is_there
    ON CONFLICT (job_id, name) DO UPDATE SET attempt = excluded.attempt, value = excluded.value, saved_at = now()
    RETURNING 1
)
SELECT EXISTS (SELECT 1 FROM held), EXISTS (SELECT 1 FROM saved)
""").bindparams(sa.bindparam("value", type_=JSONB))
_GET = sa.select(checkpoints.c.name, checkpoints.c.value).where(checkpoints.c.job_id == sa.bindparam("job_id"))
_HELD = sa.text(
    "SELECT 1 FROM jobs.jobs WHERE job_id = :job_id AND attempt = :attempt AND state IN ('running', 'cancelling')"
)


async def save(conn: AsyncConnection, job_id: UUID, attempt: int, name: str, value: Any) -> None:
    """Keep a value. Raises `lease_lost`, or `too_many_checkpoints`."""
    if not 1 <= len(name) <= NAME_LENGTH or "\x00" in name:
        raise errors.InvalidArgument(f"name must be 1 to {NAME_LENGTH} characters, without NUL.", field="name")
    given = {"job_id": job_id, "attempt": attempt, "name": name, "value": value, "most": MOST}
    is_held, is_saved = (await conn.execute(_SAVE, given)).one()
    if not is_held:
        raise finish.lease_lost(job_id, attempt)
    if not is_saved:
        raise errors.ResourceExhausted(f"A job keeps at most {MOST} checkpoints.", code="too_many_checkpoints")


async def get(conn: AsyncConnection, job_id: UUID, attempt: int) -> dict[str, Any]:
    """Give what was kept. Raises `lease_lost`."""
    if (await conn.execute(_HELD, {"job_id": job_id, "attempt": attempt})).first() is None:
        raise finish.lease_lost(job_id, attempt)
    return {row.name: row.value for row in await conn.execute(_GET, {"job_id": job_id})}
