"""All event streams of this process: keeps the feeds of the owners that are watched, and sweeps for missed events."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Collection
from functools import partial
from typing import Any

from chassis import bus, errors, interest
from chassis.rpc import shares
from gateway import clients, metrics
from gateway.identity import sessions
from gateway.stream import connection, event_reader, feed, opening, poll, response, snapshots, sources
from gateway.stream.pending_jobs import PendingJobs
from repruv.jobs.v1 import job_pb2

logger = logging.getLogger(__name__)

MAX_STREAMS = 50_000
MAX_FEEDS = MAX_STREAMS + 10_000
"""Also those whose last stream has ended less than a minute ago."""
MAX_STREAMS_PER_USER = 20
OPENINGS_PER_USER = 2
"""Streams and polls of a user that begin at once: each may read many events. As many more as may be open wait."""
SWEEP_SECONDS = 2.0
OFFLINE_SWEEP_SECONDS = 0.5
"""Between sweeps while NATS is away."""
LINGER_SECONDS = 60.0
DRAIN_GRACE_SECONDS = 1.0
NATS_DELAY_SECONDS = 0.1
"""How long a committed event may take to arrive over NATS before a sweep reads it."""
MAX_CONCURRENT_CALLS = 8
POLLED_OWNERS = 50
"""Owners whose progress one sweep reads while NATS is away; further ones wait for their turn."""


class Hub:
    """Opens streams and feeds them. `subscribe` before NATS connects, `run` while the server runs, `drain` before it stops."""

    def __init__(
        self,
        *,
        jobs: clients.Jobs,
        kinds: sources.Sources,
        pending_jobs: PendingJobs,
        validator: sessions.Sessions,
        interests: interest.Interests,
    ) -> None:
        self._jobs = jobs
        self._interests = interests
        self._sources = kinds
        self._reader = event_reader.EventReader(jobs)
        self._validator = validator
        self._opening = opening.Opening(
            reader=self._reader,
            kinds=kinds,
            pending_jobs=pending_jobs,
            is_live=lambda: validator.is_live,
        )
        self._feeds: dict[str, feed.Feed] = {}
        # Of each user, the oldest first.
        self._streams: dict[str, dict[connection.Connection, None]] = {}
        self._count = 0
        self._wake = asyncio.Event()
        self._calls = asyncio.Semaphore(MAX_CONCURRENT_CALLS)
        self._openings = shares.Shares(running=OPENINGS_PER_USER, waiting=MAX_STREAMS_PER_USER)
        self._next_polled = 0
        self._is_draining = False
        self._empty = asyncio.Event()
        self._empty.set()

    def subscribe(self, nats: bus.Bus) -> None:
        """Subscribe to what ends sessions. Each feed subscribes to the events of its owner."""
        nats.on_connected(self._on_connected)
        self._validator.on_revoked(self._on_revoked)
        self._validator.on_refreshed(self._on_refreshed)

    async def position(self, owner_id: str) -> int:
        """Return the current cursor of an owner: a page shows it, and its stream resumes there.

        Call it before reading what the page shows. Raises `Unavailable`, at once if the jobs service is down.
        """
        return (await self._jobs.batch_get_event_positions([owner_id], quick=True))[owner_id]

    async def open(
        self,
        session: sessions.Session,
        cursor: str | None,
        job: job_pb2.Job | None = None,
        *,
        is_operator: bool = False,
    ) -> response.EventStream:
        """Open a stream of all events of the user, or of one job that the user may see, as an operator if they are one.

        Beyond 20 streams of one user the oldest ends. Raises `Unauthenticated`, `Unavailable`, and `ResourceExhausted` if
        more than 22 of the user begin at once.
        """
        async with self._openings.place(session.user_id):
            stream, _ = await self._begin(session, cursor, job, is_operator=is_operator)
        return response.EventStream(stream)

    async def poll(self, session: sessions.Session, after: str | None, *, wait: float) -> poll.PollResult:
        """Return the user's events after a cursor, or what comes first within `wait` seconds. Raises as `open`."""
        cursor = poll.Cursor.parse(after)
        async with self._openings.place(session.user_id):
            if first := await self._opening.first_missed(self._feed(session.user_id), cursor.sequence):
                return poll.part(first, cursor)
            stream, owner = await self._begin(session, cursor.sequence, None)
        try:
            return await poll.poll(stream, owner, cursor, wait=wait)
        finally:
            stream.disconnected()

    async def _begin(
        self, session: sessions.Session, cursor: str | None, job: job_pb2.Job | None, *, is_operator: bool = False
    ) -> tuple[connection.Connection, feed.Feed]:
        owner_id = job.spec.owner_id if job else session.user_id
        owner = self._feed(owner_id)
        stream = self._admit(session, job.job_id if job else "", is_operator=is_operator)
        stream.on_end = partial(self._remove, stream, owner)
        try:
            # The session may have been revoked after its validation and before `_admit`, when no revocation reached it.
            await stream.identity()
            stream.opening = await self._opening.begin(owner, stream, cursor)
        except BaseException:
            stream.disconnected()
            raise
        return stream, owner

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            self._wake.clear()
            try:
                await self._sweep()
            except errors.Error as error:
                logger.warning("sweep failed", extra={"cause": error.code})
            pause = SWEEP_SECONDS if self._validator.is_live else OFFLINE_SWEEP_SECONDS
            try:
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            except TimeoutError:
                continue

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

    def _admit(self, session: sessions.Session, job_id: str, *, is_operator: bool) -> connection.Connection:
        if self._is_draining:
            raise errors.Unavailable("This server is about to stop; try again.")
        if self._count >= MAX_STREAMS:
            raise _full()
        streams = self._streams.setdefault(session.user_id, {})
        while len(streams) >= MAX_STREAMS_PER_USER:
            # The oldest no longer counts, however long its reader takes to leave.
            oldest = next(iter(streams))
            del streams[oldest]
            oldest.close(connection.TOO_MANY)
        stream = connection.Connection(session, self._validator, job_id=job_id, is_operator=is_operator)
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
            if len(self._feeds) >= MAX_FEEDS:
                raise _full()
            self._feeds[owner_id] = feed.Feed(owner_id, self._reader, self._sources, self._interests)
        # Keeps the feed while the stream opens.
        self._feeds[owner_id].idle_since = asyncio.get_running_loop().time()
        return self._feeds[owner_id]

    def _all_streams(self) -> list[connection.Connection]:
        return [stream for streams in self._streams.values() for stream in streams]

    def _on_connected(self) -> None:
        """Refresh everything: messages sent while NATS was away are lost."""
        for owner in self._feeds.values():
            owner.invalidate()
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
                stream.refresh()

    async def _sweep(self) -> None:
        self._drop_idle()
        metrics.STREAM_FEEDS.set(len(self._feeds))
        metrics.TASKS.set(len(asyncio.all_tasks()))
        owners = [owner for owner in self._feeds.values() if owner.position is not None]
        before = {owner.owner_id: owner.position or 0 for owner in owners}
        latest = await self._reader.positions(list(before))
        differing = [
            owner for owner in owners if not before[owner.owner_id] <= latest[owner.owner_id] <= (owner.position or 0)
        ]
        if differing and self._validator.is_live:
            await asyncio.sleep(NATS_DELAY_SECONDS)
        await asyncio.gather(
            *(self._compare(owner, before[owner.owner_id], latest[owner.owner_id]) for owner in differing)
        )
        active = [owner for owner in owners if owner.connections]
        is_live = self._validator.is_live
        stale = [(owner, each) for owner in active for each in owner.resources if each.needs_refresh(is_live=is_live)]
        await asyncio.gather(*(self._refresh(owner, each) for owner, each in stale))
        if not is_live:
            running = [owner for owner in active if owner.jobs.is_in_progress]
            await asyncio.gather(*(self._poll_progress(owner) for owner in self._in_turn(running)))

    async def _compare(self, owner: feed.Feed, before: int, latest: int) -> None:
        try:
            if latest < before:
                # Sequences only grow, so the database has another history now, such as a restored backup.
                await owner.restart()
            elif latest > (owner.position or 0):
                await owner.catch_up()
        except errors.Error as error:
            logger.warning("owner is behind", extra={"owner_id": owner.owner_id, "cause": error.code})

    async def _refresh(self, owner: feed.Feed, latest: snapshots.Snapshots[Any]) -> None:
        stream = next((stream for stream in owner.connections if not stream.job_id), None)
        if stream is not None:
            async with self._calls:
                await owner.refresh(latest, stream)

    def _in_turn(self, running: list[feed.Feed]) -> list[feed.Feed]:
        """Return the owners after those of the previous call, at most `POLLED_OWNERS`."""
        first = self._next_polled % max(1, len(running))
        polled = (running[first:] + running[:first])[:POLLED_OWNERS]
        self._next_polled = first + len(polled)
        return polled

    async def _poll_progress(self, owner: feed.Feed) -> None:
        async with self._calls:
            jobs = await self._sources.jobs.fetch_progress(owner.owner_id)
        for job in jobs:
            owner.receive(self._sources.jobs, job)

    def _drop_idle(self) -> None:
        """Drop feeds without streams for 60 s; until then a returning reader finds its events in memory.

        Their subscriptions end with them.
        """
        since = asyncio.get_running_loop().time() - LINGER_SECONDS
        for owner_id in [
            key for key, owner in self._feeds.items() if not owner.connections and owner.idle_since < since
        ]:
            self._feeds.pop(owner_id).close()


def _full() -> errors.Unavailable:
    return errors.Unavailable("This server holds as many streams as it can; try again.")
