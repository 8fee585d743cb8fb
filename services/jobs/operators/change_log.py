"""Who changed kinds and jobs: a row for each change by an operator, in the transaction of the change."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, TypeVar
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis import ids
from services.jobs import schema

MAX_KIND_CHANGES = 100
"""Changes of a kind that are kept."""
MAX_JOB_CHANGES = 20
"""Changes of a job that are kept, as long as the job."""
KIND_RETENTION = timedelta(days=365)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobChange:
    change: str
    """`hold` or `release`."""
    actor_id: UUID | None
    """The admin; None for the command line, and after the erasure of the account."""
    changed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class KindChange:
    change: str
    """`paused`, `resumed` or `limited`."""
    details: str
    """The new limits; empty for a pause and its end."""
    actor_id: UUID | None
    """As in `JobChange`."""
    changed_at: datetime


ChangeT = TypeVar("ChangeT", JobChange, KindChange)


class ChangeLog(Generic[ChangeT]):
    """The changes in one table."""

    def __init__(self, table: sa.Table, subject: str, change: type[ChangeT], *, max_count: int) -> None:
        """`subject` is the column that says what was changed; its newest `max_count` changes are kept."""
        self.max_count = max_count
        columns = table.c
        self._subject = subject
        self._change: type[ChangeT] = change
        self._insert = sa.insert(table)
        of_subject = columns[subject] == sa.bindparam("subject", type_=columns[subject].type)
        newest_first = columns.change_id.desc()
        older = sa.select(columns.change_id).where(of_subject).order_by(newest_first).offset(sa.bindparam("max_count"))
        self._delete_older = sa.delete(table).where(columns.change_id.in_(older))
        fields = [columns[field.name] for field in dataclasses.fields(change)]
        self._list = sa.select(*fields).where(of_subject).order_by(newest_first)
        of_actor = columns.actor_id == sa.bindparam("erased", type_=sa.Uuid)
        some = sa.select(columns.change_id).where(of_actor).limit(sa.bindparam("limit"))
        self._forget = sa.update(table).where(columns.change_id.in_(some)).values(actor_id=None)

    async def record(
        self, conn: AsyncConnection, subject: UUID | str, change: str, *, actor_id: UUID | None, **details: str
    ) -> None:
        """Record a change; forget the old ones beyond those that are kept. `details` are further columns."""
        row = {"change_id": ids.uuid7(), self._subject: subject, "change": change, "actor_id": actor_id, **details}
        await conn.execute(self._insert, row)
        await conn.execute(self._delete_older, {"subject": subject, "max_count": self.max_count})

    async def list_newest(
        self, conn: AsyncConnection, subject: UUID | str, *, limit: int | None = None
    ) -> Sequence[ChangeT]:
        """Return up to `limit` changes, by default all that are kept, the newest first."""
        rows = await conn.execute(self._list.limit(limit), {"subject": subject})
        return [self._change(**row) for row in rows.mappings()]

    async def forget_actor(self, conn: AsyncConnection, actor_id: UUID, *, limit: int) -> int:
        """Remove an erased account from up to `limit` of its changes; return from how many."""
        return (await conn.execute(self._forget, {"erased": actor_id, "limit": limit})).rowcount


JOBS = ChangeLog(schema.job_changes, "job_id", JobChange, max_count=MAX_JOB_CHANGES)
KINDS = ChangeLog(schema.kind_changes, "kind", KindChange, max_count=MAX_KIND_CHANGES)


async def delete_old_kind_changes(conn: AsyncConnection) -> None:
    """Delete the changes of kinds that are older than `KIND_RETENTION`."""
    changes = schema.kind_changes
    await conn.execute(sa.delete(changes).where(changes.c.changed_at < sa.func.now() - KIND_RETENTION))
