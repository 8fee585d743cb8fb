"""Opens a stream: what the reader missed since its cursor, then the current snapshots.

A connection in its feed receives everything newer, so everything older is collected first. No await comes between
collecting and joining the feed.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

from chassis import cooperative, errors
from gateway import metrics
from gateway.stream import connection, event_reader, feed, frames, snapshots, sources
from gateway.stream.pending_jobs import PendingJobs

MAX_REPLAY = 5_000
MAX_REPLAY_BYTES = 1 << 20
"""Missed transitions that a stream begins with. Beyond them it begins with a `reset`."""
MAX_POLLED = 500
"""Missed transitions that a poll returns; the next poll returns those after them."""
MAX_CURSOR_DIGITS = 18


class CursorLost(Exception):
    """The stream cannot resume from the cursor; the argument is the reason in the `reset` frame."""


class Opening:
    def __init__(
        self,
        *,
        reader: event_reader.EventReader,
        kinds: sources.Sources,
        pending_jobs: PendingJobs,
        is_live: Callable[[], bool],
    ) -> None:
        """`is_live` returns whether NATS messages reach this process."""
        self._is_live = is_live
        self._reader = reader
        self._sources = kinds
        self._pending_jobs = pending_jobs

    async def begin(self, owner: feed.Feed, stream: connection.Connection, cursor: str | None) -> bytes:
        """Add `stream` to `owner` and return the first bytes to send; what follows is queued in `stream`.

        `cursor` is the id of the last event that the reader has; None if it has none. Raises `Unavailable`.
        """
        after = _sequence(cursor)
        await owner.prime(after)
        missed: list[frames.Frame] = []
        lost = ""
        if cursor is not None:
            try:
                missed = await _missed(owner, self._reader, after)
            except CursorLost as error:
                lost = str(error)
        # No await from here to `add`: the feed continues where `missed` ends.
        if stream.job_id:
            missed = [frame for frame in missed if frame.job_id == stream.job_id]
        resumed = after is not None and not lost
        position = owner.position or 0
        stream.last_sequence = position
        owner.connections.add(stream)

        start = "resumed" if resumed else "reset" if lost else "fresh"
        metrics.STREAMS_OPENED.labels(start).inc()
        first = after if resumed and after is not None else position
        opening = connection.hello(stream, resumed=resumed, replayed=len(missed), sequence=first)
        if lost:
            stream.restart(lost, position)
        if stream.job_id:
            await self._send_job(owner, stream, end_replayed=bool(missed) and missed[-1].is_final, resumed=resumed)
        else:
            await asyncio.gather(
                *(self._send_resources(owner, latest, stream) for latest in owner.resources),
                self._send_unfinished(owner, stream, resumed=resumed),
            )
        return opening + b"".join(frame.data for frame in missed)

    async def first_missed(self, owner: feed.Feed, cursor: str | None) -> list[frames.Frame]:
        """Return the first transitions after `cursor` if more are missed than one poll returns, else none of them."""
        after = _sequence(cursor)
        if after is None or await owner.prime(after) - after <= MAX_POLLED:
            return []
        try:
            page = await self._reader.events(owner.owner_id, after=after)
        except errors.OutOfRange:
            return []
        missed = await cooperative.convert(owner.transition_frame, page.events[:MAX_POLLED])
        sizes = itertools.accumulate(len(frame.data) for frame in missed)
        return [frame for frame, size in zip(missed, sizes, strict=True) if size <= MAX_REPLAY_BYTES] or missed[:1]

    async def _send_job(
        self, owner: feed.Feed, stream: connection.Connection, *, end_replayed: bool, resumed: bool
    ) -> None:
        """Send the job of a stream to a new reader, and its end to a resumed one."""
        job = await self._pending_jobs.get_job(stream.job_id, user=await stream.identity())
        frame = self._sources.jobs.frame(job)
        if end_replayed and frame.is_final and not stream.is_operator:
            stream.close(connection.FINISHED)
            return
        if frame.is_final and resumed:
            # The feed is behind the job: it sends the missed transitions, and the last one ends the stream.
            await owner.catch_up()
        if frame.is_final or not resumed:
            stream.send(frame)

    async def _send_unfinished(self, owner: feed.Feed, stream: connection.Connection, *, resumed: bool) -> None:
        if resumed:
            return
        for job in await self._sources.jobs.fetch_unfinished(owner.owner_id, await stream.identity()):
            owner.jobs.note(job)
            stream.send(self._sources.jobs.frame(job))

    async def _send_resources(
        self, owner: feed.Feed, latest: snapshots.Snapshots[Any], stream: connection.Connection
    ) -> None:
        if not (self._is_live() and latest.is_fresh):
            await owner.refresh(latest, stream)
        for frame in owner.resource_frames(latest):
            stream.send(frame)


def _sequence(cursor: str | None) -> int | None:
    is_valid = cursor is not None and cursor.isascii() and cursor.isdecimal() and len(cursor) <= MAX_CURSOR_DIGITS
    return int(cursor) if cursor is not None and is_valid else None


async def _missed(owner: feed.Feed, reader: event_reader.EventReader, after: int | None) -> list[frames.Frame]:
    """Return the transitions between `after` and the feed's position at the time of return, in order."""
    if after is None:
        raise CursorLost("cursor_invalid")
    for _ in range(2):
        # Another replica may have rendered a page with events that have not reached this one. A run in progress may have
        # read before they were committed, hence the second.
        if after > (owner.position or 0):
            await owner.catch_up()
    if after > (owner.position or 0):
        raise CursorLost("cursor_unknown")
    if (owner.position or 0) - after > MAX_REPLAY:
        raise CursorLost("cursor_too_old")
    fetched: list[frames.Frame] = []
    size = 0
    while not owner.remembers(after) and after < (owner.position or 0):
        try:
            page = await reader.events(owner.owner_id, after=after)
        except errors.OutOfRange as error:
            raise CursorLost("cursor_unknown") from error
        if not page.events:
            raise CursorLost("cursor_unknown")
        fetched += (read := await cooperative.convert(owner.transition_frame, page.events))
        size += sum(len(frame.data) for frame in read)
        after = page.events[-1].sequence
        if size > MAX_REPLAY_BYTES or len(fetched) > MAX_REPLAY:
            raise CursorLost("cursor_too_old")
    # The database may be ahead of the feed, which sends the rest itself.
    return [frame for frame in fetched if frame.sequence <= (owner.position or 0)] + owner.since(after)
