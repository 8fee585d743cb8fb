"""The event log: one per owner, with a gap-free sequence."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis import errors
from services.jobs import statements
from services.jobs.domain import Job

_PAGES = sa.text("""
SELECT position, last_sequence, sequence, event
FROM (
    SELECT c.position, coalesce(o.last_sequence, 0) AS last_sequence, e.sequence, e.event,
        sum(coalesce(octet_length(e.event), 0)) OVER (ORDER BY c.position, e.sequence) AS total
    FROM unnest(CAST(:owner_ids AS uuid[]), CAST(:afters AS bigint[])) WITH ORDINALITY AS c (owner_id, after, position)
    LEFT JOIN jobs.owners o ON o.owner_id = c.owner_id
    LEFT JOIN LATERAL (
        SELECT sequence, event FROM jobs.job_events
        WHERE owner_id = c.owner_id AND sequence > c.after ORDER BY sequence LIMIT :limit
    ) e ON true
) sized
WHERE total <= :size OR total = octet_length(event)
ORDER BY position, sequence
""")
"""One snapshot: the newest sequence of an owner is that of the newest event. The first event is returned whatever its size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Events of an owner after a sequence."""

    events: list[bytes]
    """JobEvent messages as published, in order and without gaps."""
    latest: int
    """The newest sequence of the owner; more pages follow while it is above that of the last event."""


async def pages(
    conn: AsyncConnection, cursors: Sequence[tuple[UUID, int]], *, limit: int, size: int
) -> list[Page | errors.OutOfRange]:
    """Return the events after each cursor (owner, sequence): up to `limit` per cursor, up to `size` bytes in total.

    The result covers the first cursors, at least one and as many as fit; the last page may be incomplete. `cursor_unknown` is a
    cursor in the future, or one whose next event was deleted.
    """
    parameters = {
        "owner_ids": [owner_id for owner_id, _ in cursors],
        "afters": [after for _, after in cursors],
        "limit": limit,
        "size": size,
    }
    rows = (await conn.execute(_PAGES, parameters)).all()
    by_position = itertools.groupby(rows, key=operator.attrgetter("position"))
    return [_page(after, list(group)) for (_, after), (_, group) in zip(cursors, by_position, strict=False)]


def _page(after: int, rows: Sequence[sa.Row[Any]]) -> Page | errors.OutOfRange:
    latest = rows[0].last_sequence
    if not 0 <= after <= latest:
        return errors.OutOfRange(f"There is no event {after}; the newest is {latest}.", code="cursor_unknown")
    # Events up to the first deleted one; none if the next event was deleted.
    events = [row.event for expected, row in enumerate(rows, after + 1) if row.sequence == expected]
    if after < latest and not events:
        return errors.OutOfRange(f"The events after {after} were deleted.", code="cursor_unknown")
    return Page(events=events, latest=latest)


async def last_sequences(conn: AsyncConnection, owner_ids: Collection[UUID]) -> dict[UUID, int]:
    """Return the newest sequence of each owner that has events."""
    rows = await statements.LAST_SEQUENCES.execute(conn, {"owner_ids": list(owner_ids)})
    return {row[0]: row[1] for row in rows}


async def next_sequences(conn: AsyncConnection, counts: Mapping[UUID, int]) -> dict[UUID, int]:
    """Advance the owners' sequences by `counts`; return the first new sequence of each owner.

    The rows stay locked until the transaction ends: sequences are gap-free, in the order of the commits. Owners are locked in
    one order: transactions with several owners cannot deadlock.
    """
    ordered = sorted(counts)
    parameters = {"owner_ids": ordered, "counts": [counts[owner_id] for owner_id in ordered]}
    rows = await statements.NEXT_SEQUENCES.execute(conn, parameters)
    return {row[0]: row[1] - counts[row[0]] + 1 for row in rows}


async def insert_events(
    conn: AsyncConnection, events: Sequence[tuple[Job, str, int, bytes]], *, commit: bool = False
) -> None:
    """Append events (job, reason, sequence, payload) to their owners' logs; with `commit`, end the transaction."""
    parameters = {
        "owner_ids": [job.spec.owner_id for job, _, _, _ in events],
        "sequences": [sequence for _, _, sequence, _ in events],
        "job_ids": [job.job_id for job, _, _, _ in events],
        "states": [job.state.value for job, _, _, _ in events],
        "attempts": [job.attempt for job, _, _, _ in events],
        "reasons": [reason for _, reason, _, _ in events],
        "events": [payload for _, _, _, payload in events],
    }
    await statements.INSERT_EVENTS.execute(conn, parameters, commit=commit)
