"""The newest events of all owners, whether or not anybody listens: for readers whom another replica has just lost."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from repruv.jobs.v1 import job_events_pb2

MAX_EVENTS = 20_000


class Recent:
    """A bounded ring of events as they were heard: again, in any order, with gaps."""

    def __init__(self, limit: int = MAX_EVENTS) -> None:
        self._limit = limit
        self._order: deque[tuple[str, int]] = deque()
        self._of_owner: dict[str, dict[int, job_events_pb2.JobEvent]] = {}

    def note(self, event: job_events_pb2.JobEvent) -> None:
        """Remember an event; the oldest is forgotten for it."""
        kept = self._of_owner.setdefault(event.owner_id, {})
        is_known = event.sequence in kept
        kept[event.sequence] = event
        if is_known:
            return
        self._order.append((event.owner_id, event.sequence))
        if len(self._order) > self._limit:
            owner_id, sequence = self._order.popleft()
            del self._of_owner[owner_id][sequence]
            if not self._of_owner[owner_id]:
                del self._of_owner[owner_id]

    def up_to(self, owner_id: str, position: int) -> Sequence[job_events_pb2.JobEvent]:
        """Give an owner's events that end at `position`, in order and without gaps, as far back as they are known."""
        kept = self._of_owner.get(owner_id, {})
        first = position
        while first in kept:
            first -= 1
        return [kept[sequence] for sequence in range(first + 1, position + 1)]

    def after(self, owner_id: str, position: int) -> Sequence[job_events_pb2.JobEvent]:
        """Give an owner's events that follow `position` without gaps."""
        kept = self._of_owner.get(owner_id, {})
        end = position + 1
        while end in kept:
            end += 1
        return [kept[sequence] for sequence in range(position + 1, end)]

    def forget(self) -> None:
        """Forget everything: it may be of a history that is no more."""
        self._of_owner.clear()
        self._order.clear()
