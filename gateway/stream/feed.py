"""The events of one owner, in order and without gaps, for every stream of that owner in this process.

NATS tells quickly but may skip, repeat or reorder; the sequence in each event says which, and the jobs service has the rest.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque

from chassis import errors
from gateway import metrics, views
from gateway.stream import connection, frames, journal, platforms, recent, snapshots
from repruv.auth.v1 import connection_pb2
from repruv.demo.v1 import demo_pb2
from repruv.jobs.v1 import job_events_pb2, job_pb2

logger = logging.getLogger(__name__)

RING = 64
"""Events of an owner that are ready to be told again, about 1 KiB each; older ones are read, many owners' in one call."""


class Feed:
    """What one owner's streams are told."""

    __slots__ = (
        "_catching_up",
        "_heard",
        "_journal",
        "_position",
        "_priming",
        "_recent",
        "_ring",
        "connections",
        "idle_since",
        "known",
        "owner_id",
        "platforms",
    )

    def __init__(self, owner_id: str, journal: journal.Journal, heard: recent.Recent) -> None:
        self.owner_id = owner_id
        self.connections: set[connection.Connection] = set()
        self.known = snapshots.Snapshots()
        self.platforms = platforms.Platforms()
        self.idle_since = asyncio.get_running_loop().time()
        self._journal = journal
        self._recent = heard
        self._position: int | None = None
        self._heard = 0
        self._ring: deque[connection.Frame] = deque(maxlen=RING)
        self._catching_up: asyncio.Task[None] | None = None
        self._priming = asyncio.Lock()

    @property
    def position(self) -> int | None:
        """The sequence of the newest event that was told; None until `prime` has found out where to begin."""
        return self._position

    def remembers(self, cursor: int) -> bool:
        """Whether every event after `cursor` that was told is still in memory."""
        return self._position is not None and self._position - len(self._ring) <= cursor <= self._position

    def since(self, cursor: int) -> list[connection.Frame]:
        """Give the remembered events after `cursor`."""
        return [frame for frame in self._ring if frame.sequence > cursor]

    async def prime(self) -> int:
        """Find out where the owner's sequence stands, unless that is known; gives the position. Raises `Unavailable`."""
        async with self._priming:
            if self._position is None:
                position = await self._journal.position(self.owner_id)
                self._ring.extend(map(transition_frame, self._recent.up_to(self.owner_id, position)[-RING:]))
                self._position = position
                for event in self._recent.after(self.owner_id, position):
                    self._take(event)
                self._follow()
            return self._position

    def hear_event(self, event: job_events_pb2.JobEvent) -> None:
        """Take a transition as it came from NATS: in order, again, too early, or late."""
        self._heard = max(self._heard, event.sequence)
        if self._position is not None:
            self._take(event)
            self._follow()

    def hear_progress(self, job: job_pb2.Job) -> None:
        """Take the progress of a running job."""
        if self.known.note_job(job):
            self._tell(snapshot_frame(job))

    def hear_read(self, read: job_events_pb2.NotificationsRead) -> None:
        """Take how much is unread after somebody has read: another tab's, or another device's, doing."""
        shown = views.notifications_read(read)
        data = frames.encode("notification", shown)
        self._tell(connection.Frame(event="notification", data=data, version=shown["version"]))

    def hear_demo(self, demo: demo_pb2.Demo) -> None:
        """Take a snapshot of demo mode; one that is not newer is news to nobody."""
        if self.known.note_demo(demo) and (frame := self.demo_frame()):
            self._tell(frame)

    def hear_connection(self, snapshot: connection_pb2.Connection) -> None:
        """Take a snapshot of a connection to a platform; one that is not newer is news to nobody."""
        if self.platforms.note(snapshot) and snapshot.version:
            self._tell(connection_frame(views.connection(snapshot)))

    def demo_frame(self) -> connection.Frame | None:
        """Show demo mode as it was last heard of; None when it never was."""
        status = self.known.demo_status()
        if status is None:
            return None
        return connection.Frame(event="demo", data=frames.encode("demo", status), version=status["version"])

    async def catch_up(self) -> None:
        """Tell everything up to the newest event in the database. Raises `Unavailable`. Callers share one run."""
        if self._catching_up is None or self._catching_up.done():
            self._catching_up = asyncio.create_task(self._fetch_missing(), name=f"catch up {self.owner_id}")
            self._catching_up.add_done_callback(_log_failure)
        await asyncio.shield(self._catching_up)

    async def restart(self) -> None:
        """Go on from the newest event, since those before it cannot be had, and say so to the streams."""
        latest = await self._journal.position(self.owner_id)
        self._position = self._heard = latest
        self._ring.clear()
        self._recent.forget()
        self.known.forget()
        self.platforms.forget()
        logger.warning("feed restarted", extra={"owner_id": self.owner_id, "sequence": latest})
        for stream in self.connections:
            stream.restart("cursor_unknown", latest)

    def _follow(self) -> None:
        """Fetch what is known to be missing, unless that is being done."""
        is_fetching = self._catching_up is not None and not self._catching_up.done()
        if self._position is None or self._heard <= self._position or is_fetching:
            return
        metrics.STREAM_GAPS.inc()
        self._catching_up = asyncio.create_task(self._fetch_missing(), name=f"catch up {self.owner_id}")
        self._catching_up.add_done_callback(_log_failure)

    async def _fetch_missing(self) -> None:
        after = await self.prime()
        while True:
            try:
                page = await self._journal.events(self.owner_id, after=after)
            except errors.OutOfRange:
                await self.restart()
                return
            for event in page.events:
                self._take(event)
            newest = max(page.latest_sequence, self._heard)
            if not page.events or (self._position or 0) >= newest:
                return
            after = page.events[-1].sequence

    def _take(self, event: job_events_pb2.JobEvent) -> None:
        """Tell the next event; ignore every other."""
        if self._position is None or event.sequence != self._position + 1:
            return
        self._position = event.sequence
        self.known.note_transition(event.job)
        frame = transition_frame(event)
        self._ring.append(frame)
        self._tell(frame)

    def _tell(self, frame: connection.Frame) -> None:
        for stream in self.connections:
            stream.tell(frame)


def transition_frame(event: job_events_pb2.JobEvent) -> connection.Frame:
    """Show a transition; its sequence is the cursor to go on from."""
    shown = views.job(event.job)
    return connection.Frame(
        event="job",
        data=frames.encode("job", shown, sequence=event.sequence),
        version=event.job.version,
        sequence=event.sequence,
        job_id=event.job.job_id,
        is_final=shown["status"] in views.FINISHED,
    )


def snapshot_frame(job: job_pb2.Job) -> connection.Frame:
    """Show a job as it stands, between transitions."""
    shown = views.job(job)
    return connection.Frame(
        event="job",
        data=frames.encode("job", shown),
        version=job.version,
        job_id=job.job_id,
        is_final=shown["status"] in views.FINISHED,
    )


def connection_frame(shown: views.Json) -> connection.Frame:
    """Show how a connection to a platform stands."""
    data = frames.encode("connection", shown)
    return connection.Frame(event="connection", data=data, version=shown["version"], platform=shown["platform"])


def _log_failure(task: asyncio.Task[None]) -> None:
    if task.cancelled() or (error := task.exception()) is None:
        return
    # The next sweep tries again.
    level = logging.WARNING if isinstance(error, errors.Unavailable) else logging.ERROR
    logger.log(level, "could not catch up", extra={"cause": repr(error)[:200]})
