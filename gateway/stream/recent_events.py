"""The newest events of all owners, with or without streams: for readers that another replica has just lost."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from repruv.jobs.v1 import job_events_pb2

MAX_EVENTS = 20_000


class RecentEvents:
    """A bounded ring of events as NATS delivers them: repeated, in any order, with gaps."""

    def __init__(self, limit: int = MAX_EVENTS) -> None:
        self._limit = limit
        self._order: deque[tuple[str, int]] = deque()
        self._by_owner: dict[str, dict[int, job_events_pb2.JobEvent]] = {}

    def note(self, event: job_events_pb2.JobEvent) -> None:
        """Keep an event; beyond the limit the oldest is dropped."""
        events = self._by_owner.setdefault(event.owner_id, {})
        is_repeated = event.sequence in events
        events[event.sequence] = event
        if is_repeated:
            return
        self._order.append((event.owner_id, event.sequence))
        if len(self._order) > self._limit:
            owner_id, sequence = self._order.popleft()
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
