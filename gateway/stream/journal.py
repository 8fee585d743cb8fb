"""Who keeps every event, asked as seldom as can be: a crowd that comes back at once costs the jobs service a handful of calls."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from chassis import errors
from repruv.jobs.v1 import jobs_service_pb2

OWNERS_PER_CALL = 500
"""More would hold up the event loop for longer than an event should take."""
READS_AT_ONCE = 8


class Kept(Protocol):
    """The jobs service."""

    async def get_event_positions(self, owner_ids: Sequence[str]) -> dict[str, int]:
        """Give the newest sequence of each owner; 0 for those without events."""

    async def list_job_events(self, owner_id: str, *, after: int) -> jobs_service_pb2.ListJobEventsResponse:
        """Give an owner's events after a sequence. Raises `OutOfRange` when it is not one that is kept."""


class Journal:
    """Asks for positions of many owners in one call, and reads the events of few of them at a time."""

    def __init__(self, jobs: Kept) -> None:
        self._jobs = jobs
        self._reads = asyncio.Semaphore(READS_AT_ONCE)
        self._waiting: deque[tuple[str, asyncio.Future[int]]] = deque()
        self._asking: asyncio.Task[None] | None = None

    async def position(self, owner_id: str) -> int:
        """Give the newest sequence of an owner, read after this was called. Raises `Unavailable`.

        What is asked while a call is under way goes into the next one, together.
        """
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append((owner_id, answer))
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask(), name="positions")
        return await answer

    async def positions(self, owner_ids: Sequence[str]) -> dict[str, int]:
        """Give the newest sequence of each owner. Raises `Unavailable`."""
        found: dict[str, int] = {}
        for first in range(0, len(owner_ids), OWNERS_PER_CALL):
            found |= await self._jobs.get_event_positions(owner_ids[first : first + OWNERS_PER_CALL])
        return found

    async def events(self, owner_id: str, *, after: int) -> jobs_service_pb2.ListJobEventsResponse:
        """Give an owner's events after a sequence. Raises `Unavailable`, or `OutOfRange` when it is not one that is kept."""
        async with self._reads:
            return await self._jobs.list_job_events(owner_id, after=after)

    async def _ask(self) -> None:
        try:
            while self._waiting:
                asked = [self._waiting.popleft() for _ in range(min(len(self._waiting), OWNERS_PER_CALL))]
                try:
                    found = await self._jobs.get_event_positions(list(dict.fromkeys(owner for owner, _ in asked)))
                except BaseException as error:
                    for _, answer in asked:
                        if not answer.done():
                            answer.set_exception(error if isinstance(error, errors.Error) else errors.Unavailable())
                    if not isinstance(error, errors.Error):
                        raise
                else:
                    for owner, answer in asked:
                        if not answer.done():
                            answer.set_result(found[owner])
        finally:
            self._asking = None
