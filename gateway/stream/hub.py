"""All event streams of this process: keeps the feeds of the owners that are watched, and compares them with the database."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Collection
from functools import partial
from typing import Any

from chassis import bus, errors, interest, run
from gateway import clients, metrics
from gateway.identity import sessions
from gateway.stream import event_reader, frames, opening, places, poll, response
from gateway.stream.feed import Feed
from gateway.stream.pending_jobs import PendingJobs
from gateway.stream.snapshots import SourceSnapshots
from gateway.stream.sources import Sources
from gateway.stream.stream import TOO_MANY, Stream
from repruv.jobs.v1 import job_pb2

logger = logging.getLogger(__name__)

MAX_STREAMS = 50_000
MAX_FEEDS = MAX_STREAMS + 10_000
"""Also those whose last stream has ended less than a minute ago."""
MAX_STREAMS_PER_USER = 20
CHECK_SECONDS = 2.0
OFFLINE_CHECK_SECONDS = 0.5
"""Between checks while NATS is away."""
LINGER_SECONDS = 60.0
DRAIN_GRACE_SECONDS = 1.0
NATS_DELAY_SECONDS = 0.1
"""How long a committed event may take to arrive over NATS before a check reads it."""
MAX_CONCURRENT_CALLS = 8
POLLED_OWNERS = 50
"""Owners whose progress one check reads while NATS is away; further ones wait for their turn."""


class Hub:
    """Opens streams and feeds them. `subscribe` before NATS connects, `run` while the server runs, `drain` before it stops."""

    def __init__(
        self,
        *,
        jobs: clients.Jobs,
        sources: Sources,
        pending_jobs: PendingJobs,
        validator: sessions.Sessions,
        interests: interest.Interests,
    ) -> None:
        self._jobs = jobs
        self._interests = interests
        self._sources = sources
        self._reader = event_reader.EventReader(jobs)
        self._pending_jobs = pending_jobs
        self._validator = validator
        self._opening = opening.Opening(
            reader=self._reader,
            sources=sources,
            pending_jobs=pending_jobs,
            is_live=lambda: validator.is_live,
        )
        self._feeds: dict[str, Feed] = {}
        # Of each user, the oldest first.
        self._streams: dict[str, dict[Stream, None]] = {}
        self._count = 0
        self._wake = asyncio.Event()
        self._calls = asyncio.Semaphore(MAX_CONCURRENT_CALLS)
        self._next_polled = 0
        self._is_draining = False
        self._empty = asyncio.Event()
        self._empty.set()

    def subscribe(self, nats: bus.Bus) -> None:
        """Subscribe to what ends sessions. Each feed subscribes to the events of its owner."""
        nats.on_connected(self._on_connected)
        self._validator.on_revoked(self._on_revoked)
        self._validator.on_refreshed(self._on_refreshed)

    async def last_sequence(self, owner_id: str) -> int:
        """Return the current cursor of an owner: a page shows it, and its stream resumes there.

        Call it before reading what the page shows. Raises `Unavailable`, at once if the jobs service is down.
        """
        return (await self._jobs.batch_get_event_positions([owner_id], quick=True))[owner_id]

    async def open(
        self,
        place: places.Place,
        session: sessions.Session,
        cursor: str | None,
        job_id: str = "",
        *,
        is_operator: bool = False,
    ) -> response.EventStream:
        """Open a stream of all events of the user, or of one job that the user may see, as an operator if they are one.

        Beyond 20 streams of one user the oldest ends. Raises `NotFound`, `Unauthenticated`, and as `Place.of_user`.
        """
        async with place.of_user(session.user_id):
            job = await self._job(session, job_id) if job_id else None
            stream, feed = self._admit(session, job, is_operator=is_operator)
            await self._begin(stream, feed, cursor, place)
        return response.EventStream(stream)

    async def poll(
        self, place: places.Place, session: sessions.Session, after: str | None, *, wait: float
    ) -> poll.PollResult:
        """Return the user's events after a cursor, or what comes first within `wait` seconds. Raises as `open`."""
        cursor = poll.Cursor.parse(after)
        async with place.of_user(session.user_id):
            stream, feed = self._admit(session, None, is_operator=False)
            first = await self._begin(stream, feed, cursor.sequence, place, in_parts=True)
        try:
            return poll.part(first, cursor) if first else await poll.poll(stream, feed, cursor, wait=wait)
        finally:
            stream.disconnected()

    async def _job(self, session: sessions.Session, job_id: str) -> job_pb2.Job:
        # The identity of the request may have expired while it waited for its place.
        identity = (await self._validator.validate(session.token, passive=True)).identity
        return await self._pending_jobs.get_job(job_id, identity=identity)

    async def _begin(
        self, stream: Stream, feed: Feed, cursor: str | None, place: places.Place, *, in_parts: bool = False
    ) -> list[frames.Frame]:
        """Prepare what the stream sends first. `in_parts`: return the first missed transitions instead, if there are many."""
        try:
            first = await self._opening.first_missed(feed, cursor, place.count_replayed) if in_parts else []
            # The session may have been revoked after its validation and before `_admit`, when no revocation reached it.
            await stream.identity()
            if not first:
                stream.opening = await self._opening.begin(feed, stream, cursor, place.count_replayed)
        except BaseException:
            stream.disconnected()
            raise
        return first

    async def run(self) -> None:
        """Compare the feeds with the database until cancelled."""
        while True:
            self._wake.clear()
            try:
                await self._check_feeds()
            except errors.Error as error:
                logger.warning("feeds not checked", extra={"cause": error.code})
            pause = CHECK_SECONDS if self._validator.is_live else OFFLINE_CHECK_SECONDS
            await run.wait(self._wake, run.pause(pause))

    async def drain(self, seconds: float) -> None:
        """Open no more streams and end all, spread over `seconds` so that the readers do not all reconnect at once."""
        self._is_draining = True
        loop = asyncio.get_running_loop()
        for stream in self._all_streams():
            loop.call_later(random.uniform(0.0, seconds), stream.close, "draining")  # noqa: S311
        try:
            async with asyncio.timeout(seconds + DRAIN_GRACE_SECONDS):
                await self._empty.wait()
        except TimeoutError:
            logger.warning("streams did not end", extra={"count": len(self._all_streams())})

    def _admit(self, session: sessions.Session, job: job_pb2.Job | None, *, is_operator: bool) -> tuple[Stream, Feed]:
        """Count a stream of the user, and return it with the feed that it will join."""
        if self._is_draining:
            raise errors.Unavailable("This server is about to stop. Try again.")
        if self._count >= MAX_STREAMS:
            raise _full()
        feed = self._feed(job.spec.owner_id if job else session.user_id)
        streams = self._streams.setdefault(session.user_id, {})
        while len(streams) >= MAX_STREAMS_PER_USER:
            # The oldest no longer counts, however long its reader takes to leave.
            oldest = next(iter(streams))
            del streams[oldest]
            oldest.close(TOO_MANY)
        stream = Stream(session, self._validator, job_id=job.job_id if job else "", is_operator=is_operator)
        stream.on_end = partial(self._remove, stream, feed)
        streams[stream] = None
        self._count += 1
        self._empty.clear()
        metrics.STREAMS.inc()
        return stream, feed

    def _remove(self, stream: Stream, feed: Feed) -> None:
        feed.streams.discard(stream)
        feed.idle_since = asyncio.get_running_loop().time()
        streams = self._streams.get(stream.session.user_id, {})
        streams.pop(stream, None)
        if not streams:
            self._streams.pop(stream.session.user_id, None)
        self._count -= 1
        if not self._count:
            self._empty.set()
        metrics.STREAMS.dec()
        metrics.STREAMS_CLOSED.labels(stream.close_reason or "failed").inc()

    def _feed(self, owner_id: str) -> Feed:
        if owner_id not in self._feeds:
            if len(self._feeds) >= MAX_FEEDS:
                raise _full()
            self._feeds[owner_id] = Feed(owner_id, self._reader, self._sources, self._interests)
        # Keeps the feed while the stream opens.
        self._feeds[owner_id].idle_since = asyncio.get_running_loop().time()
        return self._feeds[owner_id]

    def _all_streams(self) -> list[Stream]:
        return [stream for streams in self._streams.values() for stream in streams]

    def _on_connected(self) -> None:
        """Refresh everything: messages sent while NATS was away are lost."""
        for feed in self._feeds.values():
            feed.invalidate()
        for stream in self._all_streams():
            stream.recheck()
        self._wake.set()

    def _on_revoked(self, user_id: str, session_ids: Collection[str] | None) -> None:
        for stream in list(self._streams.get(user_id, ())):
            if session_ids is None:
                stream.recheck()
            elif stream.session.session_id in session_ids:
                stream.close("session_expired")

    def _on_refreshed(self, user_id: str, session_ids: Collection[str]) -> None:
        for stream in self._streams.get(user_id, ()):
            if stream.session.session_id in session_ids:
                stream.on_session_refreshed()

    async def _check_feeds(self) -> None:
        self._drop_idle()
        metrics.STREAM_FEEDS.set(len(self._feeds))
        metrics.TASKS.set(len(asyncio.all_tasks()))
        feeds = [feed for feed in self._feeds.values() if feed.last_sequence is not None]
        before = {feed.owner_id: feed.last_sequence or 0 for feed in feeds}
        latest = await self._reader.last_sequences(list(before))
        differing = [
            feed for feed in feeds if not before[feed.owner_id] <= latest[feed.owner_id] <= (feed.last_sequence or 0)
        ]
        if differing and self._validator.is_live:
            await asyncio.sleep(NATS_DELAY_SECONDS)
        await asyncio.gather(*(self._compare(feed, before[feed.owner_id], latest[feed.owner_id]) for feed in differing))
        active = [feed for feed in feeds if feed.streams]
        is_live = self._validator.is_live
        stale = [
            (feed, snapshots)
            for feed in active
            for snapshots in feed.resources
            if snapshots.needs_refresh(is_live=is_live)
        ]
        await asyncio.gather(*(self._fetch_snapshots(feed, snapshots) for feed, snapshots in stale))
        if not is_live:
            running = [feed for feed in active if feed.jobs.is_in_progress]
            await asyncio.gather(*(self._poll_progress(feed) for feed in self._in_turn(running)))

    async def _compare(self, feed: Feed, before: int, latest: int) -> None:
        try:
            if latest < before:
                # Sequences only grow, so the database has another history now, such as a restored backup.
                await feed.restart()
            elif latest > (feed.last_sequence or 0):
                await feed.catch_up()
        except errors.Error as error:
            logger.warning("the feed of an owner is behind", extra={"owner_id": feed.owner_id, "cause": error.code})

    async def _fetch_snapshots(self, feed: Feed, snapshots: SourceSnapshots[Any]) -> None:
        stream = next((stream for stream in feed.streams if not stream.job_id), None)
        if stream is not None:
            async with self._calls:
                await feed.fetch_snapshots(snapshots, stream)

    def _in_turn(self, running: list[Feed]) -> list[Feed]:
        """Return the feeds after those of the previous call, at most `POLLED_OWNERS`."""
        first = self._next_polled % max(1, len(running))
        polled = (running[first:] + running[:first])[:POLLED_OWNERS]
        self._next_polled = first + len(polled)
        return polled

    async def _poll_progress(self, feed: Feed) -> None:
        async with self._calls:
            jobs = await self._sources.jobs.fetch_progress(feed.owner_id)
        for job in jobs:
            feed.receive(self._sources.jobs, job)

    def _drop_idle(self) -> None:
        """Drop feeds without streams for 60 s; until then a returning reader finds its events in memory.

        Their subscriptions end with them.
        """
        since = asyncio.get_running_loop().time() - LINGER_SECONDS
        for owner_id in [key for key, feed in self._feeds.items() if not feed.streams and feed.idle_since < since]:
            self._feeds.pop(owner_id).close()


def _full() -> errors.Unavailable:
    return errors.Unavailable("This server holds as many streams as it can. Try again.")
