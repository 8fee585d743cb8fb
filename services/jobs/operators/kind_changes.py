"""Who paused, resumed and limited kinds: a row for each change, in the transaction of the change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis import ids

MAX_CHANGES = 100
"""Changes of a kind that are kept."""
RETENTION = timedelta(days=365)

Change = Literal["paused", "resumed", "limited"]

_INSERT = sa.text("""
INSERT INTO jobs.kind_changes (change_id, kind, change, details, actor_id)
VALUES (CAST(:change_id AS uuid), :kind, :change, :details, CAST(:actor_id AS uuid))
""")
_DELETE_OLDER = sa.text("""
DELETE FROM jobs.kind_changes WHERE change_id = ANY(ARRAY(
    SELECT change_id FROM jobs.kind_changes WHERE kind = :kind ORDER BY change_id DESC OFFSET :kept))
""")
_LIST = sa.text("""
SELECT change, details, actor_id, changed_at FROM jobs.kind_changes WHERE kind = :kind ORDER BY change_id DESC LIMIT :limit
""")
_DELETE_OLD = sa.text("DELETE FROM jobs.kind_changes WHERE changed_at < now() - :age").bindparams(
    sa.bindparam("age", type_=sa.Interval)
)
_FORGET = sa.text("UPDATE jobs.kind_changes SET actor_id = NULL WHERE actor_id = :actor_id").bindparams(
    sa.bindparam("actor_id", type_=sa.Uuid)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class KindChange:
    """A change of a kind by an operator."""

    change: Change
    details: str
    """The new limits; empty for a pause and its end."""
    actor_id: UUID | None
    """The admin; None for the command line, and after the erasure of the account."""
    changed_at: datetime


async def record(conn: AsyncConnection, kind: str, change: Change, *, actor_id: UUID | None, details: str = "") -> None:
    """Record a change; forget those of the kind beyond the newest `MAX_CHANGES`."""
    parameters = {
        "change_id": ids.uuid7(),
        "kind": kind,
        "change": change,
        "details": details[:200],
        "actor_id": actor_id,
    }
    await conn.execute(_INSERT, parameters)
    await conn.execute(_DELETE_OLDER, {"kind": kind, "kept": MAX_CHANGES})


async def list_newest(conn: AsyncConnection, kind: str, *, limit: int) -> Sequence[KindChange]:
    """Return the changes of a kind, the newest first."""
    return [KindChange(**row) for row in (await conn.execute(_LIST, {"kind": kind, "limit": limit})).mappings()]


async def delete_old(conn: AsyncConnection) -> None:
    """Delete the changes that are older than `RETENTION`."""
    await conn.execute(_DELETE_OLD, {"age": RETENTION})


async def forget_actor(conn: AsyncConnection, actor_id: UUID) -> None:
    """Remove an erased account from its changes."""
    await conn.execute(_FORGET, {"actor_id": actor_id})
