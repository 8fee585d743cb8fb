"""Watches stream the changes of one job, or all events of one owner.

A message over NATS only names the rows to read; the rows come from PostgreSQL. A replica subscribes only to the owners that are
watched here, before it reads their rows. Once a second all watched jobs and owners are compared with the database by two queries:
a lost message costs a second. Only the newest snapshot of each watched job is buffered, even for a slow reader.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import bus, errors, interest, postgres, run
from repruv.jobs.v1 import job_events_pb2
from services.jobs import channels, domain, operations

MAX_WATCHES = 10_000
POLL_SECONDS = 1.0
NOW = -1
"""The position of a watcher that starts with the next event."""
EVENTS = channels.LIVE_EVENTS.subject("")
PROGRESS = channels.PROGRESS.subject("")
_READ_BATCH = 500

_VERSIONS = sa.text("SELECT job_id, version FROM jobs.jobs WHERE job_id = ANY(:job_ids)")


class _JobWatch:
    """The newest snapshot for one watcher of a job."""

    def __init__(self) -> None:
        self.version = 0
        """The version of the newest snapshot."""
        self._newest: domain.Job | None = None
        self._changed = asyncio.Event()

    def show(self, job: domain.Job | None) -> None:
        """Replace the pending snapshot; None for a deleted job."""
        if job is None or job.version > self.version:
            self._newest = job
            self.version = job.version if job else self.version
            self._changed.set()

    async def next(self) -> domain.Job:
        """Wait for the next snapshot. Raises `NotFound` once the job is deleted."""
        await self._changed.wait()
        self._changed.clear()
        if self._newest is None:
            raise errors.NotFound("The job was deleted.", code="job_not_found")
        return self._newest


class _OwnerWatch:
    """The position of one watcher of an owner's events, and whether newer events exist."""

    def __init__(self) -> None:
        self.position = 0
        self.more = asyncio.Event()

    def notify(self, sequence: int) -> None:
        """Note that an event with this sequence exists."""
        if sequence > self.position:
            self.more.set()


@dataclass(slots=True)
class _Followed:
    """An owner whose messages this replica receives, and the number of watches that need them."""

    interest: interest.Interest
    watches: int = 0


Watch = TypeVar("Watch", _JobWatch, _OwnerWatch)


class Watches:
    """The watches of one replica."""

    def __init__(self, engine: AsyncEngine, jobs: operations.Operations, *, limit: int = MAX_WATCHES) -> None:
        self._single = postgres.autocommit(engine)
        self._jobs = jobs
        self._limit = limit
        self._count = 0
        self._is_watched = asyncio.Event()
        # Ids as text, as in the messages.
        self._of_job: dict[str, set[_JobWatch]] = {}
        self._of_owner: dict[str, set[_OwnerWatch]] = {}
        self._followed: dict[str, _Followed] = {}
        self._interests = interest.Interests()
        self._changed: dict[str, None] = {}
        self._has_changed = asyncio.Event()

    @property
    def count(self) -> int:
        return self._count

    def subscribe(self, nats: bus.Bus) -> None:
        """Use messages of NATS from now on."""
        self._interests = nats.interests

    async def read(self) -> None:
        """Read changed jobs forever, all changes of the meantime by one query."""
        while True:
            await self._has_changed.wait()
            self._has_changed.clear()
            while self._changed:
                batch = list(itertools.islice(self._changed, _READ_BATCH))
                for job_id in batch:
                    del self._changed[job_id]
                await self._show(batch)

    async def poll(self) -> None:
        """Compare with the database once a second while there are watches, forever."""
        while True:
            await self._is_watched.wait()
            await self.compare()
            await asyncio.sleep(run.pause(POLL_SECONDS))

    async def watch_job(
        self, job_id: UUID, *, owner_id: UUID | None, after_version: int
    ) -> AsyncGenerator[domain.Job, None]:
        """Yield the job if it is newer than `after_version`, then each newer snapshot until the job has ended.

        A slow watcher misses snapshots, but never the newest. Raises `NotFound`, `too_many_watches`.
        """
        watch = _JobWatch()
        with self._register(self._of_job, str(job_id), watch):
            watched_owner = owner_id or (await self._jobs.get(job_id, owner_id=None)).spec.owner_id
            async with self._follow_owner(str(watched_owner)):
                watch.show(await self._jobs.get(job_id, owner_id=owner_id))
                while True:
                    job = await watch.next()
                    if job.version > after_version:
                        yield job
                    if job.state in domain.FINISHED:
                        return

    async def watch_owner(self, owner_id: UUID, *, after: int) -> AsyncGenerator[bytes, None]:
        """Yield the owner's events after a sequence forever, in order, each as a JobEvent message.

        Raises `cursor_unknown` as `Operations.list_events` does, and `too_many_watches`.
        """
        watch = _OwnerWatch()
        with self._register(self._of_owner, str(owner_id), watch):
            async with self._follow_owner(str(owner_id)):
                if after == NOW:
                    after = (await self._jobs.last_sequences([owner_id])).get(owner_id, 0)
                while True:
                    watch.position = after
                    watch.more.clear()
                    events, latest = await self._jobs.list_events(owner_id, after=after, limit=operations.EVENTS_PAGE)
                    for event in events:
                        yield event
                    after += len(events)
                    if after >= latest:
                        watch.position = after
                        await watch.more.wait()

    async def compare(self) -> None:
        """Compare all watched jobs and owners with the database."""
        if self._of_job:
            async with self._single.connect() as conn:
                rows = await conn.execute(_VERSIONS, {"job_ids": list(map(UUID, self._of_job))})
            versions = {str(row.job_id): row.version for row in rows}
            for job_id in self._of_job:
                self._notify_job(job_id, versions.get(job_id))
        if self._of_owner:
            last_sequences = await self._jobs.last_sequences(list(map(UUID, self._of_owner)))
            for owner_id, sequence in last_sequences.items():
                self._notify_owner(str(owner_id), sequence)

    def _receive(self, subject: str, payload: bytes) -> None:
        if subject.startswith(EVENTS):
            for event in job_events_pb2.JobEvents.FromString(payload).events:
                self._notify_job(event.job.job_id, event.job.version)
                self._notify_owner(event.owner_id, event.sequence)
        else:
            job = job_events_pb2.JobProgressed.FromString(payload).job
            self._notify_job(job.job_id, job.version)

    def _notify_job(self, job_id: str, version: int | None) -> None:
        watches = self._of_job.get(job_id, ())
        if any(version is None or version > watch.version for watch in watches):
            self._changed[job_id] = None
            self._has_changed.set()

    def _notify_owner(self, owner_id: str, sequence: int) -> None:
        for watch in self._of_owner.get(owner_id, ()):
            watch.notify(sequence)

    async def _show(self, job_ids: list[str]) -> None:
        jobs = await self._jobs.get_many(list(map(UUID, job_ids)))
        for job_id in job_ids:
            for watch in self._of_job.get(job_id, ()):
                watch.show(jobs.get(UUID(job_id)))

    @contextmanager
    def _register(self, watches: dict[str, set[Watch]], key: str, watch: Watch) -> Iterator[None]:
        if self._count >= self._limit:
            message = f"This replica already has {self._limit:,} watches. Try again later."
            raise errors.ResourceExhausted(message, code="too_many_watches")
        self._count += 1
        self._is_watched.set()
        watches.setdefault(key, set()).add(watch)
        try:
            yield
        finally:
            self._count -= 1
            if not self._count:
                self._is_watched.clear()
            watches[key].discard(watch)
            if not watches[key]:
                del watches[key]

    @asynccontextmanager
    async def _follow_owner(self, owner_id: str) -> AsyncGenerator[None, None]:
        """Receive the messages of an owner. What is read inside is followed by a message about each later change."""
        if (entry := self._followed.get(owner_id)) is None:
            subjects = [f"{EVENTS}{owner_id}", f"{PROGRESS}{owner_id}"]
            entry = self._followed[owner_id] = _Followed(self._interests.open(subjects, self._receive))
        entry.watches += 1
        try:
            await entry.interest.wait()
            yield
        finally:
            entry.watches -= 1
            if not entry.watches:
                entry.interest.close()
                del self._followed[owner_id]
