"""Reads events from the jobs service, many owners' in one call: a crowd that reconnects costs a handful of calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from chassis import batching, errors
from repruv.jobs.v1 import jobs_service_pb2

OWNERS_PER_CALL = 500
"""More would block the event loop for longer than an event should take."""
MAX_WAIT_SECONDS = 0.25
"""The next call does not wait longer for the one before."""

Page = jobs_service_pb2.ListJobEventsResponse
Cursor = tuple[str, int]
"""An owner, and the sequence of the last event already read."""


class JobsService(Protocol):
    """The part of `clients.Jobs` that the reader calls."""

    async def batch_get_event_positions(self, owner_ids: Sequence[str]) -> dict[str, int]:
        """Return the newest sequence of each owner; 0 for those without events."""

    async def list_events(self, cursors: Sequence[Cursor]) -> Sequence[Page | errors.Error]:
        """Return the events after the first of these cursors; `OutOfRange` for a sequence that does not exist."""


class EventReader:
    """Batches concurrent reads: the first is sent at once, the others when it has been answered."""

    def __init__(self, jobs: JobsService) -> None:
        self._jobs = jobs
        self._last_sequences = batching.Batcher(
            self._read_last_sequences, max_items=OWNERS_PER_CALL, max_wait=MAX_WAIT_SECONDS
        )
        self._events = batching.Batcher(self._read_events, max_items=OWNERS_PER_CALL, max_wait=MAX_WAIT_SECONDS)

    async def last_sequence(self, owner_id: str) -> int:
        """Return the newest sequence of an owner, read after this call. Raises `Unavailable`."""
        return await self._last_sequences(owner_id)

    async def last_sequences(self, owner_ids: Sequence[str]) -> dict[str, int]:
        """Return the newest sequence of each owner. Raises `Unavailable`."""
        last_sequences: dict[str, int] = {}
        for first in range(0, len(owner_ids), OWNERS_PER_CALL):
            last_sequences |= await self._jobs.batch_get_event_positions(owner_ids[first : first + OWNERS_PER_CALL])
        return last_sequences

    async def events(self, owner_id: str, *, after: int) -> Page:
        """Return an owner's events after a sequence, or the first of them.

        Raises `Unavailable`, or `OutOfRange` for a sequence that does not exist.
        """
        return await self._events((owner_id, after))

    async def _read_last_sequences(self, owner_ids: list[str]) -> Sequence[int]:
        last_sequences = await self._jobs.batch_get_event_positions(list(dict.fromkeys(owner_ids)))
        return [last_sequences[owner_id] for owner_id in owner_ids]

    async def _read_events(self, cursors: list[Cursor]) -> Sequence[Page | Exception]:
        results: list[Page | Exception] = []
        while len(results) < len(cursors):
            pages = await self._jobs.list_events(cursors[len(results) :])
            if not pages:
                raise errors.Internal("The jobs service answered with no events of any owner.")
            results += pages
        return results
