"""The events of jobs in the database: a log for each owner, whose sequence has no gaps."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis import outbox
from services.jobs import statements
from services.jobs.domain import Job
from services.jobs.schema import job_events


async def list_events(conn: AsyncConnection, owner_id: UUID, *, after: int, limit: int) -> list[bytes]:
    """Read the events of an owner that follow a sequence, in order, each as the JobEvent message that was published.

    Only up to the next that was deleted: so there is none if the very next one was.
    """
    statement = (
        sa.select(job_events.c.sequence, job_events.c.event)
        .where(job_events.c.owner_id == owner_id, job_events.c.sequence > after)
        .order_by(job_events.c.sequence)
        .limit(limit)
    )
    rows = await conn.execute(statement)
    return [event for expected, (sequence, event) in enumerate(rows, after + 1) if sequence == expected]


async def last_sequences(conn: AsyncConnection, owner_ids: Collection[UUID]) -> dict[UUID, int]:
    """Read the newest sequence of each owner that has one."""
    found = await conn.execute(statements.LAST_SEQUENCES, {"owner_ids": list(owner_ids)})
    return {row.owner_id: row.last_sequence for row in found}


async def next_sequences(conn: AsyncConnection, counts: Mapping[UUID, int]) -> dict[UUID, int]:
    """Advance the owners' sequences by so many events; gives the first new sequence of each owner.

    The rows stay locked until the transaction ends: that makes a sequence gap-free and its order that of the commits.
    Owners are locked in one order, so that transactions with several of them cannot deadlock.
    """
    ordered = sorted(counts)
    given = {"owner_ids": ordered, "counts": [counts[owner_id] for owner_id in ordered]}
    found = await conn.execute(statements.NEXT_SEQUENCES, given)
    return {row[0]: row[1] - counts[row[0]] + 1 for row in found}


async def insert_events(
    conn: AsyncConnection, events: Sequence[tuple[Job, str, int, bytes]], messages: Sequence[outbox.Message]
) -> None:
    """Append events (job, reason, sequence, as bytes) to their owners' logs, and what tells of them to the outbox."""
    given = {
        "message_ids": [message.message_id for message in messages],
        "subjects": [message.subject for message in messages],
        "payloads": [message.payload for message in messages],
        "delay": outbox.HEAD_START,
        "owner_ids": [job.spec.owner_id for job, _, _, _ in events],
        "sequences": [sequence for _, _, sequence, _ in events],
        "job_ids": [job.job_id for job, _, _, _ in events],
        "states": [job.state.value for job, _, _, _ in events],
        "attempts": [job.attempt for job, _, _, _ in events],
        "reasons": [reason for _, reason, _, _ in events],
        "events": [payload for _, _, _, payload in events],
    }
    await conn.execute(statements.INSERT_EVENTS, given)
