"""All event streams of this process: who listens to which owner, what NATS says, and what a sweep finds that it did not say."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Collection
from functools import partial

from chassis import bus, errors
from gateway import clients, metrics
from gateway.arrivals import Arrivals
from gateway.identity import sessions
from gateway.stream import connection, feed, journal, opening, poll, recent, response
from repruv.auth.v1 import auth_events_pb2
from repruv.demo.v1 import demo_events_pb2
from repruv.jobs.v1 import job_events_pb2, job_pb2, jobs_service_pb2

logger = logging.getLogger(__name__)

MAX_STREAMS = 50_000
MAX_STREAMS_PER_USER = 20
SWEEP_SECONDS = 2.0
DEAF_SWEEP_SECONDS = 0.5
LINGER_SECONDS = 60.0
DRAIN_GRACE_SECONDS = 1.0
ARRIVAL_SECONDS = 0.1
"""What the database knows before NATS has told it may just be on its way."""
CALLS_AT_ONCE = 8
POLLED_OWNERS = 50


class Hub:
    """Opens streams and keeps them fed. `listen` before NATS connects, `run` beside the server, `drain` before it stops."""

    def __init__(
        self,
        *,
        jobs: clients.Jobs,
        demo: clients.Demo,
        connections: clients.Connections,
        arrivals: Arrivals,
        validator: sessions.Sessions,
    ) -> None:
        self._jobs = jobs
        self._journal = journal.Journal(jobs)
        self._recent = recent.Recent()
        self._validator = validator
        self._opening = opening.Opening(
            jobs=jobs,
            kept=self._journal,
            demo=demo,
            connections=connections,
            arrivals=arrivals,
            hears=lambda: validator.is_live,
        )
        self._feeds: dict[str, feed.Feed] = {}
        # Of each user, the oldest first.
        self._streams: dict[str, dict[connection.Connection, None]] = {}
        self._count = 0
        self._wake = asyncio.Event()
        self._calls = asyncio.Semaphore(CALLS_AT_ONCE)
        self._is_draining = False
        self._empty = asyncio.Event()
        self._empty.set()

    def subscribe(self, heard: bus.Bus) -> None:
        """Hear what the services tell."""
        heard.subscribe("jobs.events.>", self._hear_event)
        heard.subscribe("jobs.progress.>", self._hear_progress)
        heard.subscribe("jobs.notifications_read.*", self._hear_read)
        heard.subscribe("demo.events.>", self._hear_demo)
        heard.subscribe("auth.events.connections.*", self._hear_connection)
        heard.on_connected(self._connected)
        self._validator.on_revoked(self._revoked)
        self._validator.on_refreshed(self._refreshed)

    async def position(self, owner_id: str) -> int:
        """Give the cursor that stands for this moment: a page shows it, and its stream goes on from it.

        Ask before reading what the page shows. Raises `Unavailable`, at once when the jobs service is not there.
        """
        return (await self._jobs.batch_get_event_positions([owner_id], quick=True))[owner_id]

    async def open(
        self, session: sessions.Session, cursor: str | None, job: job_pb2.Job | None = None
    ) -> response.EventStream:
        """Open a stream of everything that concerns the user, or of one job.

        Of more than 20 streams of one user the oldest ends. Raises `Unauthenticated`, `Unavailable`.
        """
        stream, _ = await self._begin(session, cursor, job)
        return response.EventStream(stream)

    async def poll(self, session: sessions.Session, after: str | None, *, wait: float) -> poll.Piece:
        """Give what happened to the user after a cursor, or what happens first within `wait` seconds. Raises as `open`."""
        known = poll.Cursor.read(after)
        stream, owner = await self._begin(session, known.sequence, None)
        try:
            return await poll.poll(stream, owner, known, wait=wait)
        finally:
            stream.lost()

    async def _begin(
        self, session: sessions.Session, cursor: str | None, job: job_pb2.Job | None
    ) -> tuple[connection.Connection, feed.Feed]:
        stream = self._admit(session, job.job_id if job else "")
        owner = self._feed(job.spec.owner_id if job else session.user_id)
        stream.on_end = partial(self._remove, stream, owner)
        try:
            # The session may have been revoked between its validation and `_admit`, since when we would be told.
            await stream.identity()
            stream.opening = await self._opening.begin(owner, stream, cursor)
        except BaseException:
            stream.lost()
            raise
        return stream, owner

    async def run(self) -> None:
        """Sweep for ever."""
        while True:
            self._wake.clear()
            try:
                await self._sweep()
            except errors.Error as error:
                logger.warning("sweep failed", extra={"cause": error.code})
            pause = SWEEP_SECONDS if self._validator.is_live else DEAF_SWEEP_SECONDS
            try:
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def drain(self, seconds: float) -> None:
        """End every stream, spread over `seconds` so that the readers do not all come back at once, and open no more."""
        self._is_draining = True
        loop = asyncio.get_running_loop()
        for stream in self._all_streams():
            loop.call_later(random.uniform(0.0, seconds), stream.close, "draining")  # noqa: S311
        try:
            async with asyncio.timeout(seconds + DRAIN_GRACE_SECONDS):
                await self._empty.wait()
        except TimeoutError:
            logger.warning("streams did not end", extra={"count": len(self._all_streams())})

    def _admit(self, session: sessions.Session, job_id: str) -> connection.Connection:
        if self._is_draining:
            raise errors.Unavailable("This server is about to stop; try again.")
        if self._count >= MAX_STREAMS:
            raise errors.Unavailable("This server holds as many streams as it can; try again.")
        streams = self._streams.setdefault(session.user_id, {})
        while len(streams) >= MAX_STREAMS_PER_USER:
            # The oldest, which is not counted any more, however long its reader takes to go.
            oldest = next(iter(streams))
            del streams[oldest]
            oldest.close(connection.TOO_MANY)
        stream = connection.Connection(session, self._validator, job_id=job_id)
        streams[stream] = None
        self._count += 1
        self._empty.clear()
        metrics.STREAMS.inc()
        return stream

    def _remove(self, stream: connection.Connection, owner: feed.Feed) -> None:
        owner.connections.discard(stream)
        owner.idle_since = asyncio.get_running_loop().time()
        streams = self._streams.get(stream.session.user_id, {})
        streams.pop(stream, None)
        if not streams:
            self._streams.pop(stream.session.user_id, None)
        self._count -= 1
        if not self._count:
            self._empty.set()
        metrics.STREAMS.dec()
        metrics.STREAMS_CLOSED.labels(stream.close_reason or "failed").inc()

    def _feed(self, owner_id: str) -> feed.Feed:
        if owner_id not in self._feeds:
            self._feeds[owner_id] = feed.Feed(owner_id, self._journal, self._recent)
        # Nobody forgets it while the stream begins.
        self._feeds[owner_id].idle_since = asyncio.get_running_loop().time()
        return self._feeds[owner_id]

    def _all_streams(self) -> list[connection.Connection]:
        return [stream for streams in self._streams.values() for stream in streams]

    async def _hear_event(self, received: bus.Received) -> None:
        for event in job_events_pb2.JobEvents.FromString(received.payload).events:
            self._recent.note(event)
            if (owner := self._feeds.get(event.owner_id)) is not None:
                owner.hear_event(event)

    async def _hear_progress(self, received: bus.Received) -> None:
        if (owner := self._feeds.get(_owner_id(received))) is not None:
            owner.hear_progress(job_events_pb2.JobProgressed.FromString(received.payload).job)

    async def _hear_read(self, received: bus.Received) -> None:
        if (owner := self._feeds.get(_owner_id(received))) is not None:
            owner.hear_read(job_events_pb2.NotificationsRead.FromString(received.payload))

    async def _hear_demo(self, received: bus.Received) -> None:
        if (owner := self._feeds.get(_owner_id(received))) is not None:
            owner.hear_demo(demo_events_pb2.DemoEvent.FromString(received.payload).demo)

    async def _hear_connection(self, received: bus.Received) -> None:
        if (owner := self._feeds.get(_owner_id(received))) is not None:
            owner.hear_connection(auth_events_pb2.ConnectionEvent.FromString(received.payload).connection)

    def _connected(self) -> None:
        """NATS is there again: what was said meanwhile was said to nobody."""
        for owner in self._feeds.values():
            owner.known.distrust_demo()
            owner.platforms.distrust()
        for stream in self._all_streams():
            stream.recheck()
        self._wake.set()

    def _revoked(self, user_id: str, session_ids: Collection[str] | None) -> None:
        for stream in list(self._streams.get(user_id, ())):
            if session_ids is None:
                stream.recheck()
            elif stream.session.session_id in session_ids:
                stream.close("session_expired")

    def _refreshed(self, user_id: str, session_ids: Collection[str]) -> None:
        for stream in self._streams.get(user_id, ()):
            if stream.session.session_id in session_ids:
                stream.refresh()

    async def _sweep(self) -> None:
        self._forget_idle()
        metrics.STREAM_FEEDS.set(len(self._feeds))
        metrics.TASKS.set(len(asyncio.all_tasks()))
        owners = [owner for owner in self._feeds.values() if owner.position is not None]
        before = {owner.owner_id: owner.position or 0 for owner in owners}
        latest = await self._journal.positions(list(before))
        odd = [
            owner for owner in owners if not before[owner.owner_id] <= latest[owner.owner_id] <= (owner.position or 0)
        ]
        if odd and self._validator.is_live:
            await asyncio.sleep(ARRIVAL_SECONDS)
        await asyncio.gather(*(self._compare(owner, before[owner.owner_id], latest[owner.owner_id]) for owner in odd))
        listened = [owner for owner in owners if owner.connections]
        hears = self._validator.is_live
        await asyncio.gather(*(self._ask_demo(owner) for owner in listened if owner.known.wants_demo(hears=hears)))
        await asyncio.gather(
            *(self._ask_connections(owner) for owner in listened if owner.platforms.wants(hears=hears))
        )
        if not hears:
            running = [owner for owner in listened if owner.known.has_running_job]
            await asyncio.gather(*(self._poll_progress(owner) for owner in running[:POLLED_OWNERS]))

    async def _compare(self, owner: feed.Feed, before: int, latest: int) -> None:
        try:
            if latest < before:
                # Sequences only grow: another history has taken the place of the one that was told (a restored backup).
                await owner.restart()
            elif latest > (owner.position or 0):
                await owner.catch_up()
        except errors.Error as error:
            logger.warning("owner is behind", extra={"owner_id": owner.owner_id, "cause": error.code})

    async def _ask_demo(self, owner: feed.Feed) -> None:
        stream = next((stream for stream in owner.connections if not stream.job_id), None)
        if stream is not None:
            async with self._calls:
                await self._opening.ask_demo(owner, stream)

    async def _ask_connections(self, owner: feed.Feed) -> None:
        stream = next((stream for stream in owner.connections if not stream.job_id), None)
        if stream is not None:
            async with self._calls:
                await self._opening.ask_connections(owner, stream)

    async def _poll_progress(self, owner: feed.Feed) -> None:
        states = (job_pb2.JOB_STATE_RUNNING, job_pb2.JOB_STATE_CANCELLING)
        request = jobs_service_pb2.ListJobsRequest(owner_id=owner.owner_id, states=states, page_size=20)
        async with self._calls:
            page = await self._jobs.list_jobs(request, user="")
        for job in page.jobs:
            owner.hear_progress(job)

    def _forget_idle(self) -> None:
        """Drop feeds that nobody has listened to for a while; until then a reader who comes back finds its events here."""
        since = asyncio.get_running_loop().time() - LINGER_SECONDS
        for owner_id in [
            key for key, owner in self._feeds.items() if not owner.connections and owner.idle_since < since
        ]:
            del self._feeds[owner_id]


def _owner_id(received: bus.Received) -> str:
    return received.subject.rpartition(".")[2]
