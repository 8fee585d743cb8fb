"""Who put jobs on hold and released them: a row for each change, in the transaction of the change, kept as long as the job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis import ids

MAX_CHANGES = 20
"""Changes of a job that are kept."""

Change = Literal["hold", "release"]

_INSERT = sa.text("""
INSERT INTO jobs.job_changes (change_id, job_id, change, actor_id)
VALUES (CAST(:change_id AS uuid), CAST(:job_id AS uuid), :change, CAST(:actor_id AS uuid))
""")
_DELETE_OLDER = sa.text("""
DELETE FROM jobs.job_changes WHERE change_id = ANY(ARRAY(
    SELECT change_id FROM jobs.job_changes WHERE job_id = :job_id ORDER BY change_id DESC OFFSET :kept))
""")
_LIST = sa.text("""
SELECT change, actor_id, changed_at FROM jobs.job_changes WHERE job_id = :job_id ORDER BY change_id DESC
""")
_FORGET = sa.text("UPDATE jobs.job_changes SET actor_id = NULL WHERE actor_id = :actor_id").bindparams(
    sa.bindparam("actor_id", type_=sa.Uuid)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobChange:
    """A change of a job by an operator."""

    change: Change
    actor_id: UUID | None
    """The admin; None for the command line, and after the erasure of the account."""
    changed_at: datetime


async def record(conn: AsyncConnection, job_id: UUID, change: Change, *, actor_id: UUID | None) -> None:
    """Record a change; forget those of the job beyond the newest `MAX_CHANGES`."""
    parameters = {"change_id": ids.uuid7(), "job_id": job_id, "change": change, "actor_id": actor_id}
    await conn.execute(_INSERT, parameters)
    await conn.execute(_DELETE_OLDER, {"job_id": job_id, "kept": MAX_CHANGES})


async def list_all(conn: AsyncConnection, job_id: UUID) -> Sequence[JobChange]:
    """Return the changes of a job, the newest first."""
    return [JobChange(**row) for row in (await conn.execute(_LIST, {"job_id": job_id})).mappings()]


async def forget_actor(conn: AsyncConnection, actor_id: UUID) -> None:
    """Remove an erased account from its changes."""
    await conn.execute(_FORGET, {"actor_id": actor_id})
