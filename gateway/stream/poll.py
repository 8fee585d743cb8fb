"""The same stream for clients that cannot hold one open: each request returns what is new, and a cursor for the next."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from gateway.identity import sessions
from gateway.stream import frames
from gateway.stream.feed import Feed
from gateway.stream.stream import SESSION_ENDED, Stream

MAX_WAIT_SECONDS = 25.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """Where a poll ended: the sequence of the last transition, and the versions of the resources without a sequence."""

    sequence: str | None
    versions: str

    @staticmethod
    def parse(after: str | None) -> Cursor:
        """Parse a cursor; the id of an event is one as well."""
        sequence, _, versions = (after or "").partition(".")
        return Cursor(sequence=sequence or None, versions=versions)

    def __str__(self) -> str:
        return f"{self.sequence}.{self.versions}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PollResult:
    """The answer to a poll."""

    resumed: bool
    events: list[dict[str, Any]]
    after: Cursor


class BufferSink:
    """A `raw_connection.Sink` that keeps what a stream writes until the answer takes it."""

    def __init__(self) -> None:
        self.is_full = False
        self.has_ended = False
        self._buffer: list[bytes] = []
        self._changed = asyncio.Event()

    def write(self, data: bytes) -> None:
        self._buffer.append(data)
        self._changed.set()

    def end(self) -> None:
        self.has_ended = True
        self._changed.set()

    abort = end

    def take(self) -> list[frames.Decoded]:
        """Return the frames written since the last call."""
        data = b"".join(self._buffer)
        self._buffer.clear()
        self._changed.clear()
        return frames.decode(data)

    async def wait(self, deadline: float) -> bool:
        """Wait for data or the end; False if neither has come by `deadline`, in the loop's time."""
        try:
            async with asyncio.timeout_at(deadline):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True


async def poll(stream: Stream, feed: Feed, cursor: Cursor, *, wait: float) -> PollResult:
    """Return what is new after `cursor`, or else what comes first within `wait` seconds. Raises `Unauthenticated`."""
    deadline = asyncio.get_running_loop().time() + wait
    sink = BufferSink()
    stream.start(sink)
    hello, *received = sink.take()
    resumed = bool(json.loads(hello.data)["resumed"])
    if resumed and cursor.versions == versions(feed):
        resources = {snapshots.source.event for snapshots in feed.resources}
        received = [frame for frame in received if frame.event not in resources]
    while not _events(received) and not sink.has_ended and await sink.wait(deadline):
        received += sink.take()
    if stream.close_reason in SESSION_ENDED:
        raise sessions.SessionInvalid()
    ids = [frame.id for frame in (hello, *received) if frame.id is not None]
    after = Cursor(sequence=ids[-1], versions=versions(feed))
    return PollResult(resumed=resumed, events=_events(received), after=after)


def part(missed: list[frames.Frame], cursor: Cursor) -> PollResult:
    """Return the first of many missed transitions; the next poll continues after them."""
    after = Cursor(sequence=str(missed[-1].sequence), versions=cursor.versions)
    events = _events(frames.decode(b"".join(frame.data for frame in missed)))
    return PollResult(resumed=True, events=events, after=after)


def versions(feed: Feed) -> str:
    """Return a string that changes whenever a resource without a sequence does."""
    return ".".join(str(sum(snapshot.version for snapshot in snapshots.latest)) for snapshots in feed.resources)


def _events(received: list[frames.Decoded]) -> list[dict[str, Any]]:
    """Return the JSON of the frames, without those that keep a connection alive or end it."""
    return [
        {"id": int(frame.id) if frame.id is not None else None, "event": frame.event, "data": json.loads(frame.data)}
        for frame in received
        if frame.event not in {"ping", "bye"}
    ]
