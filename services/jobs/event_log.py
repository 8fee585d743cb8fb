"""The events of jobs in the database: a log for each owner, whose sequence has no gaps."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis import errors, outbox
from services.jobs import statements
from services.jobs.domain import Job

_PAGES = sa.text("""
SELECT place, last_sequence, sequence, event
FROM (
    SELECT c.place, coalesce(o.last_sequence, 0) AS last_sequence, e.sequence, e.event,
        sum(coalesce(octet_length(e.event), 0)) OVER (ORDER BY c.place, e.sequence) AS total
    FROM unnest(CAST(:owner_ids AS uuid[]), CAST(:afters AS bigint[])) WITH ORDINALITY AS c (owner_id, after, place)
    LEFT JOIN jobs.owners o ON o.owner_id = c.owner_id
    LEFT JOIN LATERAL (
        SELECT sequence, event FROM jobs.job_events
        WHERE owner_id = c.owner_id AND sequence > c.after ORDER BY sequence LIMIT :limit
    ) e ON true
) found
WHERE total <= :size OR total = octet_length(event)
ORDER BY place, sequence
""")
"""One snapshot: an owner's newest sequence is that of the newest event. The first event is given whatever its size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Events of an owner that follow a sequence."""

    events: list[bytes]
    """In order and without gaps, each as the JobEvent message that was published."""
    latest: int
    """The owner's newest sequence; more pages follow while it is above the last event's."""


async def pages(
    conn: AsyncConnection, cursors: Sequence[tuple[UUID, int]], *, limit: int, size: int
) -> list[Page | errors.OutOfRange]:
    """Read what follows each cursor (owner, sequence): up to `limit` events of each, and up to `size` bytes of all.

    Gives what became of the first cursors: at least one, and as many as there is room for, the last perhaps in part.
    `cursor_unknown` is a cursor in the future, or whose very next event was deleted.
    """
    given = {
        "owner_ids": [owner_id for owner_id, _ in cursors],
        "afters": [after for _, after in cursors],
        "limit": limit,
        "size": size,
    }
    found = (await conn.execute(_PAGES, given)).all()
    by_place = itertools.groupby(found, key=operator.attrgetter("place"))
    return [_page(after, list(rows)) for (_, after), (_, rows) in zip(cursors, by_place, strict=False)]


def _page(after: int, rows: Sequence[sa.Row[Any]]) -> Page | errors.OutOfRange:
    latest = rows[0].last_sequence
    if not 0 <= after <= latest:
        return errors.OutOfRange(f"There is no event {after}; the newest is {latest}.", code="cursor_unknown")
    # Only up to the next that was deleted: so there is none if the very next one was.
    events = [row.event for expected, row in enumerate(rows, after + 1) if row.sequence == expected]
    if after < latest and not events:
        return errors.OutOfRange(f"What came after event {after} is no longer kept.", code="cursor_unknown")
    return Page(events=events, latest=latest)


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
        "delay": outbox.RELAY_DELAY,
        "owner_ids": [job.spec.owner_id for job, _, _, _ in events],
        "sequences": [sequence for _, _, sequence, _ in events],
        "job_ids": [job.job_id for job, _, _, _ in events],
        "states": [job.state.value for job, _, _, _ in events],
        "attempts": [job.attempt for job, _, _, _ in events],
        "reasons": [reason for _, reason, _, _ in events],
        "events": [payload for _, _, _, payload in events],
    }
    await conn.execute(statements.INSERT_EVENTS, given)
