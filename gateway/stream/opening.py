"""How a stream begins: where the reader left off, what it missed since, and how things stand.

Once a connection is among its feed's, everything newer reaches it; so what is older is gathered before, and the step from the
one to the other is taken without an await in between.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from chassis import errors
from gateway import clients, metrics
from gateway.arrivals import Arrivals
from gateway.stream import connection, feed, journal
from repruv.jobs.v1 import job_pb2, jobs_service_pb2

logger = logging.getLogger(__name__)

MAX_REPLAY = 5_000
MAX_CURSOR_DIGITS = 18
UNFINISHED = (
    job_pb2.JOB_STATE_SCHEDULED,
    job_pb2.JOB_STATE_PENDING,
    job_pb2.JOB_STATE_RUNNING,
    job_pb2.JOB_STATE_RETRYING,
    job_pb2.JOB_STATE_CANCELLING,
)


class CursorLost(Exception):
    """The stream cannot go on from the cursor; the argument is the reason that the reader is told."""


class Opening:
    """Begins streams."""

    def __init__(
        self,
        *,
        jobs: clients.Jobs,
        kept: journal.Journal,
        demo: clients.Demo,
        connections: clients.Connections,
        arrivals: Arrivals,
        hears: Callable[[], bool],
    ) -> None:
        """`hears` says whether NATS reaches this process at the moment."""
        self._hears = hears
        self._jobs = jobs
        self._journal = kept
        self._demo = demo
        self._connections = connections
        self._arrivals = arrivals

    async def begin(self, owner: feed.Feed, stream: connection.Connection, cursor: str | None) -> bytes:
        """Join `stream` to `owner`; gives the first bytes to send, while what follows is queued in `stream`.

        `cursor` is the id of the last event that the reader has; None for one that has none. Raises `Unavailable`.
        """
        position = await owner.prime()
        missed: list[connection.Frame] = []
        lost = ""
        if cursor is not None:
            try:
                missed = await _missed(owner, self._journal, cursor)
            except CursorLost as error:
                lost = str(error)
        # No await from here to `add`: what `missed` ends with is what the feed goes on from.
        if stream.job_id:
            missed = [frame for frame in missed if frame.job_id == stream.job_id]
        resumed = cursor is not None and not lost
        position = owner.position or 0
        owner.connections.add(stream)

        start = "resumed" if resumed else "reset" if lost else "fresh"
        metrics.STREAMS_OPENED.labels(start).inc()
        first = int(cursor) if resumed and cursor is not None else position
        opening = connection.hello(stream, resumed=resumed, replayed=len(missed), sequence=first)
        if lost:
            stream.restart(lost, position)
        if stream.job_id:
            await self._show_job(stream, was_told=bool(missed) and missed[-1].is_final, resumed=resumed)
        else:
            await asyncio.gather(
                self._show_demo(owner, stream),
                self._show_connections(owner, stream),
                self._show_jobs(owner, stream, resumed=resumed),
            )
        return opening + b"".join(frame.data for frame in missed)

    async def _show_job(self, stream: connection.Connection, *, was_told: bool, resumed: bool) -> None:
        """Show the job of a stream to a reader who is new, and its end to one who had seen it before."""
        job = await self._arrivals.get_job(stream.job_id, user=await stream.identity())
        frame = feed.snapshot_frame(job)
        if was_told and frame.is_final:
            stream.close(connection.FINISHED)
        elif frame.is_final or not resumed:
            stream.tell(frame)

    async def _show_jobs(self, owner: feed.Feed, stream: connection.Connection, *, resumed: bool) -> None:
        if resumed:
            return
        request = jobs_service_pb2.ListJobsRequest(owner_id=owner.owner_id, states=UNFINISHED, page_size=100)
        page = await self._jobs.list_jobs(request, user=await stream.identity())
        for job in page.jobs:
            owner.known.note_job(job)
            stream.tell(feed.snapshot_frame(job))

    async def _show_demo(self, owner: feed.Feed, stream: connection.Connection) -> None:
        if not (self._hears() and owner.known.is_demo_settled):
            await self.ask_demo(owner, stream)
        if frame := owner.demo_frame():
            stream.tell(frame)

    async def _show_connections(self, owner: feed.Feed, stream: connection.Connection) -> None:
        if not (self._hears() and owner.platforms.is_sure):
            await self.ask_connections(owner, stream)
        for shown in owner.platforms.snapshots():
            stream.tell(feed.connection_frame(shown))

    async def ask_connections(self, owner: feed.Feed, stream: connection.Connection) -> None:
        """Ask how the connections stand, in the name of `stream`; if nobody answers, it will be asked again."""
        try:
            found = await self._connections.list_connections(user=await stream.identity(), quick=True)
        except errors.Error as error:
            owner.platforms.distrust()
            logger.info("connections are not known", extra={"owner_id": owner.owner_id, "cause": error.code})
            return
        for snapshot in found:
            owner.hear_connection(snapshot)
        owner.platforms.confirm()

    async def ask_demo(self, owner: feed.Feed, stream: connection.Connection) -> None:
        """Ask how demo mode stands, in the name of `stream`; if nobody answers, it will be asked again."""
        try:
            answer = await self._demo.get_demo(user=await stream.identity(), quick=True)
        except errors.Error as error:
            owner.known.distrust_demo()
            logger.info("demo mode is not known", extra={"owner_id": owner.owner_id, "cause": error.code})
            return
        if answer.HasField("job"):
            owner.known.note_job(answer.job)
        owner.hear_demo(answer.demo)
        owner.known.confirm_demo()


async def _missed(owner: feed.Feed, kept: journal.Journal, cursor: str) -> list[connection.Frame]:
    """Give the events between `cursor` and where the feed stands at the moment of return, in order."""
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) <= MAX_CURSOR_DIGITS):
        raise CursorLost("cursor_invalid")
    after = int(cursor)
    for _ in range(2):
        # A page made by another replica may know of events that have not reached this one. A run that is under way may have
        # read before those were committed, hence the second.
        if after > (owner.position or 0):
            await owner.catch_up()
    if after > (owner.position or 0):
        raise CursorLost("cursor_unknown")
    fetched: list[connection.Frame] = []
    while not owner.remembers(after) and after < (owner.position or 0):
        if len(fetched) >= MAX_REPLAY:
            raise CursorLost("cursor_too_old")
        try:
            page = await kept.events(owner.owner_id, after=after)
        except errors.OutOfRange as error:
            raise CursorLost("cursor_unknown") from error
        if not page.events:
            raise CursorLost("cursor_unknown")
        fetched += [feed.transition_frame(event) for event in page.events]
        after = page.events[-1].sequence
    # The database may be ahead of the feed, which will tell the rest itself.
    return [frame for frame in fetched if frame.sequence <= (owner.position or 0)] + owner.since(after)
