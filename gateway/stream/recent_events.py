"""The newest events of all owners, with or without streams: for readers that another replica has just lost."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from repruv.jobs.v1 import job_events_pb2

MAX_EVENTS = 20_000
MAX_BYTES = 32 << 20
"""Encoded. An event carries a job with its payload and result, 32 KiB and more."""


class RecentEvents:
    """A bounded ring of events as NATS delivers them: repeated, in any order, with gaps."""

    def __init__(self, limit: int = MAX_EVENTS, max_bytes: int = MAX_BYTES) -> None:
        self._limit = limit
        self._max_bytes = max_bytes
        self._bytes = 0
        self._order: deque[tuple[str, int, int]] = deque()
        self._by_owner: dict[str, dict[int, job_events_pb2.JobEvent]] = {}

    def note(self, event: job_events_pb2.JobEvent) -> None:
        """Keep an event; beyond a limit the oldest ones are dropped."""
        events = self._by_owner.setdefault(event.owner_id, {})
        if event.sequence in events:
            return
        events[event.sequence] = event
        size = event.ByteSize()
        self._bytes += size
        self._order.append((event.owner_id, event.sequence, size))
        while len(self._order) > self._limit or self._bytes > self._max_bytes:
            owner_id, sequence, size = self._order.popleft()
            self._bytes -= size
            del self._by_owner[owner_id][sequence]
            if not self._by_owner[owner_id]:
                del self._by_owner[owner_id]

    def up_to(self, owner_id: str, position: int) -> Sequence[job_events_pb2.JobEvent]:
        """Return an owner's events that end at `position`, in order and without gaps, as far back as they are kept."""
        events = self._by_owner.get(owner_id, {})
        first = position
        while first in events:
            first -= 1
        return [events[sequence] for sequence in range(first + 1, position + 1)]

    def after(self, owner_id: str, position: int) -> Sequence[job_events_pb2.JobEvent]:
        """Return an owner's events that follow `position` without gaps."""
        events = self._by_owner.get(owner_id, {})
        end = position + 1
        while end in events:
            end += 1
        return [events[sequence] for sequence in range(position + 1, end)]

    def clear(self) -> None:
        """Drop all events, which may belong to another history."""
        self._by_owner.clear()
        self._order.clear()
        self._bytes = 0
