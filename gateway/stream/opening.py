"""Opens a stream: what the reader missed since its cursor, then the current snapshots.

A stream in its feed receives everything newer, so everything older is collected first. No await comes between
collecting and joining the feed.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

from chassis import cooperative, errors
from gateway import metrics
from gateway.stream import event_reader, frames
from gateway.stream.feed import Feed
from gateway.stream.pending_jobs import PendingJobs
from gateway.stream.snapshots import SourceSnapshots
from gateway.stream.sources import Sources
from gateway.stream.stream import FINISHED, Stream, hello

MAX_REPLAY = 5_000
MAX_REPLAY_BYTES = 1 << 20
"""Missed transitions that a stream begins with. Beyond them it begins with a `reset`."""
MAX_POLLED = 500
"""Missed transitions that a poll returns; the next poll returns those after them."""
MAX_CURSOR_DIGITS = 18

Count = Callable[[int], None]


class CursorLost(Exception):
    """The stream cannot resume from the cursor; the argument is the reason in the `reset` frame."""


class Opening:
    def __init__(
        self,
        *,
        reader: event_reader.EventReader,
        sources: Sources,
        pending_jobs: PendingJobs,
        is_live: Callable[[], bool],
    ) -> None:
        """`is_live` returns whether NATS messages reach this process."""
        self._is_live = is_live
        self._reader = reader
        self._sources = sources
        self._pending_jobs = pending_jobs

    async def begin(self, feed: Feed, stream: Stream, cursor: str | None, count: Count) -> bytes:
        """Add `stream` to `feed` and return the first bytes to send; what follows is queued in `stream`.

        `cursor` is the id of the last event that the reader has; None if it has none. `count` gets the numbers of missed events
        that are read. Raises `Unavailable`.
        """
        after = _sequence(cursor)
        await feed.prime(after)
        missed: list[frames.Frame] = []
        lost = ""
        if cursor is not None:
            try:
                missed = await _read_missed(feed, self._reader, after, count)
            except CursorLost as error:
                lost = str(error)
        # No await from here to `add`: the feed continues where `missed` ends.
        if stream.job_id:
            missed = [frame for frame in missed if frame.job_id == stream.job_id]
        resumed = after is not None and not lost
        last_sequence = feed.last_sequence or 0
        stream.last_sequence = last_sequence
        feed.streams.add(stream)

        start = "resumed" if resumed else "reset" if lost else "fresh"
        metrics.STREAMS_OPENED.labels(start).inc()
        first = after if resumed and after is not None else last_sequence
        opening = hello(stream, resumed=resumed, replayed=len(missed), sequence=first)
        if lost:
            stream.restart(lost, last_sequence)
        if stream.job_id:
            await self._send_job(feed, stream, end_replayed=bool(missed) and missed[-1].is_final, resumed=resumed)
        else:
            await asyncio.gather(
                *(self._send_resources(feed, snapshots, stream) for snapshots in feed.resources),
                self._send_unfinished(feed, stream, resumed=resumed),
            )
        return opening + b"".join(frame.data for frame in missed)

    async def first_missed(self, feed: Feed, cursor: str | None, count: Count) -> list[frames.Frame]:
        """Return the first transitions after `cursor` if more are missed than one poll returns, else none of them."""
        after = _sequence(cursor)
        if after is None or await feed.prime(after) - after <= MAX_POLLED:
            return []
        try:
            page = await self._reader.events(feed.owner_id, after=after)
        except errors.OutOfRange:
            return []
        count(len(page.events))
        missed = await cooperative.convert(feed.transition_frame, page.events[:MAX_POLLED])
        sizes = itertools.accumulate(len(frame.data) for frame in missed)
        return [frame for frame, size in zip(missed, sizes, strict=True) if size <= MAX_REPLAY_BYTES] or missed[:1]

    async def _send_job(self, feed: Feed, stream: Stream, *, end_replayed: bool, resumed: bool) -> None:
        """Send the job of a stream to a new reader, and its end to a resumed one."""
        job = await self._pending_jobs.get_job(stream.job_id, identity=await stream.identity())
        frame = self._sources.jobs.frame(job)
        if end_replayed and frame.is_final and not stream.is_operator:
            stream.close(FINISHED)
            return
        if frame.is_final and resumed:
            # The feed is behind the job: it sends the missed transitions, and the last one ends the stream.
            await feed.catch_up()
        if frame.is_final or not resumed:
            stream.send(frame)

    async def _send_unfinished(self, feed: Feed, stream: Stream, *, resumed: bool) -> None:
        if resumed:
            return
        for job in await self._sources.jobs.fetch_unfinished(feed.owner_id, await stream.identity()):
            feed.jobs.note(job)
            stream.send(self._sources.jobs.frame(job))

    async def _send_resources(self, feed: Feed, snapshots: SourceSnapshots[Any], stream: Stream) -> None:
        if not (self._is_live() and snapshots.is_fresh):
            await feed.fetch_snapshots(snapshots, stream)
        for frame in feed.resource_frames(snapshots):
            stream.send(frame)


def _sequence(cursor: str | None) -> int | None:
    is_valid = cursor is not None and cursor.isascii() and cursor.isdecimal() and len(cursor) <= MAX_CURSOR_DIGITS
    return int(cursor) if cursor is not None and is_valid else None


async def _read_missed(
    feed: Feed, reader: event_reader.EventReader, after: int | None, count: Count
) -> list[frames.Frame]:
    """Return the transitions between `after` and the feed's last sequence at the time of return, in order."""
    if after is None:
        raise CursorLost("cursor_invalid")
    for _ in range(2):
        # Another replica may have rendered a page with events that have not reached this one. A run in progress may have
        # read before they were committed, hence the second.
        if after > (feed.last_sequence or 0):
            await feed.catch_up()
    if after > (feed.last_sequence or 0):
        raise CursorLost("cursor_unknown")
    if (feed.last_sequence or 0) - after > MAX_REPLAY:
        raise CursorLost("cursor_too_old")
    fetched: list[frames.Frame] = []
    size = 0
    while not feed.remembers(after) and after < (feed.last_sequence or 0):
        try:
            page = await reader.events(feed.owner_id, after=after)
        except errors.OutOfRange as error:
            raise CursorLost("cursor_unknown") from error
        if not page.events:
            raise CursorLost("cursor_unknown")
        count(len(page.events))
        page_frames = await cooperative.convert(feed.transition_frame, page.events)
        fetched += page_frames
        size += sum(len(frame.data) for frame in page_frames)
        after = page.events[-1].sequence
        if size > MAX_REPLAY_BYTES or len(fetched) > MAX_REPLAY:
            raise CursorLost("cursor_too_old")
    # The database may be ahead of the feed, which sends the rest itself.
    return [frame for frame in fetched if frame.sequence <= (feed.last_sequence or 0)] + feed.since(after)
