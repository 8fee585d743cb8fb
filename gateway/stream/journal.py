"""Who keeps every event, asked as seldom as can be: a crowd that comes back at once costs the jobs service a handful of calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from chassis import batching, errors
from repruv.jobs.v1 import jobs_service_pb2

OWNERS_PER_CALL = 500
"""More would hold up the event loop for longer than an event should take."""
MAX_WAIT_SECONDS = 0.25
"""A call that takes longer is not waited for by the next."""

Page = jobs_service_pb2.ListJobEventsResponse
Cursor = tuple[str, int]
"""An owner, and the sequence of the last event that is known."""


class Kept(Protocol):
    """The jobs service."""

    async def batch_get_event_positions(self, owner_ids: Sequence[str]) -> dict[str, int]:
        """Give the newest sequence of each owner; 0 for those without events."""

    async def list_events(self, cursors: Sequence[Cursor]) -> Sequence[Page | errors.Error]:
        """Give the events after the first of these cursors; `OutOfRange` is the answer to one that is not kept."""


class Journal:
    """Asks in one call for all who ask at the same time: the first at once, the others when that has been answered."""

    def __init__(self, jobs: Kept) -> None:
        self._jobs = jobs
        self._positions = batching.Batcher(self._ask_positions, max_items=OWNERS_PER_CALL, max_wait=MAX_WAIT_SECONDS)
        self._events = batching.Batcher(self._ask_events, max_items=OWNERS_PER_CALL, max_wait=MAX_WAIT_SECONDS)

    async def position(self, owner_id: str) -> int:
        """Give the newest sequence of an owner, read after this was called. Raises `Unavailable`."""
        return await self._positions(owner_id)

    async def positions(self, owner_ids: Sequence[str]) -> dict[str, int]:
        """Give the newest sequence of each owner. Raises `Unavailable`."""
        found: dict[str, int] = {}
        for first in range(0, len(owner_ids), OWNERS_PER_CALL):
            found |= await self._jobs.batch_get_event_positions(owner_ids[first : first + OWNERS_PER_CALL])
        return found

    async def events(self, owner_id: str, *, after: int) -> Page:
        """Give an owner's events after a sequence, or the first of them.

        Raises `Unavailable`, or `OutOfRange` when the sequence is not one that is kept.
        """
        return await self._events((owner_id, after))

    async def _ask_positions(self, owner_ids: list[str]) -> Sequence[int]:
        found = await self._jobs.batch_get_event_positions(list(dict.fromkeys(owner_ids)))
        return [found[owner_id] for owner_id in owner_ids]

    async def _ask_events(self, cursors: list[Cursor]) -> Sequence[Page | Exception]:
        answers: list[Page | Exception] = []
        while len(answers) < len(cursors):
            found = await self._jobs.list_events(cursors[len(answers) :])
            if not found:
                raise errors.Internal("The jobs service answered with no events of anybody.")
            answers += found
        return answers
