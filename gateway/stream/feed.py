"""The events of one owner, in order and without gaps, for every stream of that owner in this process.

NATS may skip, repeat or reorder messages. The sequence of each transition shows it, and the jobs service has what is missing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from typing import Any

from chassis import errors, interest, tracing
from gateway import metrics
from gateway.stream import connection, event_reader, frames, snapshots, sources
from repruv.jobs.v1 import job_events_pb2

logger = logging.getLogger(__name__)

RING = 64
RING_BYTES = 128 << 10
"""Transitions of an owner kept for replay, and their bytes; older ones are read, many owners' in one call."""


class Feed:
    """Sends an owner's events to the owner's streams."""

    __slots__ = (
        "_catching_up",
        "_highest_sequence",
        "_interest",
        "_position",
        "_priming",
        "_reader",
        "_ring",
        "_ring_bytes",
        "_snapshots",
        "_sources",
        "connections",
        "idle_since",
        "jobs",
        "owner_id",
        "resources",
    )

    def __init__(
        self,
        owner_id: str,
        reader: event_reader.EventReader,
        kinds: sources.Sources,
        interests: interest.Interests,
    ) -> None:
        self.owner_id = owner_id
        self.connections: set[connection.Connection] = set()
        self.jobs = snapshots.Snapshots(kinds.jobs)
        self.resources = tuple(
            snapshots.Snapshots[Any](source, self.jobs) for source in kinds.unordered if source.has_state
        )
        self.idle_since = asyncio.get_running_loop().time()
        self._sources = kinds
        self._snapshots = {latest.source: latest for latest in (self.jobs, *self.resources)}
        self._reader = reader
        self._position: int | None = None
        self._highest_sequence = 0
        self._ring: deque[frames.Frame] = deque()
        self._ring_bytes = 0
        self._catching_up: asyncio.Task[None] | None = None
        self._priming = asyncio.Lock()
        self._interest = interests.open(kinds.subjects(owner_id), self._receive_message, self.invalidate)

    @property
    def position(self) -> int | None:
        """The sequence of the last transition sent; None before `prime`."""
        return self._position

    def close(self) -> None:
        """End the subscriptions."""
        self._interest.close()

    def invalidate(self) -> None:
        """Fetch the snapshots of all resources at the next sweep: messages may have been missed."""
        for latest in self.resources:
            latest.invalidate()

    def remembers(self, cursor: int) -> bool:
        """Return whether every sent transition after `cursor` is still in memory."""
        return self._position is not None and self._position - len(self._ring) <= cursor <= self._position

    def since(self, cursor: int) -> list[frames.Frame]:
        """Return the remembered transitions after `cursor`."""
        return [frame for frame in self._ring if frame.sequence > cursor]

    async def prime(self, cursor: int | None = None) -> int:
        """Return the position; the first call reads it, with the transitions after `cursor`. Raises `Unavailable`.

        It reads once NATS delivers the owner's messages, so every later transition arrives or leaves a gap.
        """
        async with self._priming:
            if self._position is None:
                await self._interest.wait()
                self._position = await self._read_position(cursor)
                self._follow()
            return self._position

    async def _read_position(self, cursor: int | None) -> int:
        if cursor is not None:
            # A cursor that does not exist is a matter of its stream.
            with contextlib.suppress(errors.OutOfRange):
                page = await self._reader.events(self.owner_id, after=cursor)
                if cursor + len(page.events) == page.latest_sequence:
                    for event in page.events[-RING:]:
                        self._remember(self.transition_frame(event))
                    return page.latest_sequence
        return await self._reader.position(self.owner_id)

    def _receive_message(self, subject: str, payload: bytes) -> None:
        kind = subject.rpartition(".")[0]
        if kind == self._sources.jobs.transitions_subject:
            for event in self._sources.jobs.parse_transitions(payload):
                self.receive_transition(event)
        elif (source := self._sources.by_subject.get(kind)) is not None:
            self.receive(source, source.parse(payload))

    def receive_transition(self, event: job_events_pb2.JobEvent) -> None:
        """Handle a transition from NATS: the next one, a repeated one, or one after a gap."""
        self._highest_sequence = max(self._highest_sequence, event.sequence)
        if self._position is not None:
            self._accept(event)
            self._follow()

    def receive(self, source: sources.Source[Any], snapshot: Any) -> None:
        """Send a snapshot of a source, unless a known one is as new."""
        latest = self._snapshots.get(source)
        if latest is not None and not latest.note(snapshot):
            return
        job = self.jobs.get(source.job_id(snapshot)) if source.job_kinds else None
        if (frame := source.frame(snapshot, job)) is not None:
            self._send(frame)

    def resource_frames(self, latest: snapshots.Snapshots[Any]) -> list[frames.Frame]:
        """Return the frames of the latest snapshots of a source, as `receive` sends them."""
        source = latest.source
        encoded = [source.frame(snapshot, self.jobs.get(source.job_id(snapshot))) for snapshot in latest.latest]
        return [frame for frame in encoded if frame is not None]

    async def refresh(self, latest: snapshots.Snapshots[Any], stream: connection.Connection) -> None:
        """Fetch the snapshots of a source as the user of `stream`; after a failure the sweep tries again."""
        try:
            fetched = await latest.source.fetch(await stream.identity(), quick=True)
        except errors.Error as error:
            latest.invalidate()
            extra = {"owner_id": self.owner_id, "event": latest.source.event, "cause": error.code}
            logger.info("snapshots could not be fetched", extra=extra)
            return
        for job in fetched.jobs:
            self.jobs.note(job)
        for snapshot in fetched.snapshots:
            self.receive(latest.source, snapshot)
        latest.confirm()

    def transition_frame(self, event: job_events_pb2.JobEvent) -> frames.Frame:
        return self._sources.jobs.frame(event.job, sequence=event.sequence)

    async def catch_up(self) -> None:
        """Send everything up to the newest transition in the database. Concurrent callers share one run. Raises `Unavailable`."""
        if self._catching_up is None or self._catching_up.done():
            self._catching_up = asyncio.create_task(self._fetch_missing(), name=f"catch up {self.owner_id}")
            self._catching_up.add_done_callback(_log_failure)
        await asyncio.shield(self._catching_up)

    async def restart(self) -> None:
        """Continue from the newest transition, because those before it are not available, and reset the streams."""
        latest = await self._reader.position(self.owner_id)
        self._position = self._highest_sequence = latest
        self._ring.clear()
        self._ring_bytes = 0
        for each in self._snapshots.values():
            each.clear()
        logger.warning("feed restarted", extra={"owner_id": self.owner_id, "sequence": latest})
        for stream in self.connections:
            stream.restart("cursor_unknown", latest)

    def _follow(self) -> None:
        """Start a run of `_fetch_missing` if there is a gap and no run."""
        is_fetching = self._catching_up is not None and not self._catching_up.done()
        if self._position is None or self._highest_sequence <= self._position or is_fetching:
            return
        metrics.STREAM_GAPS.inc()
        self._catching_up = asyncio.create_task(self._fetch_missing(), name=f"catch up {self.owner_id}")
        self._catching_up.add_done_callback(_log_failure)

    async def _fetch_missing(self) -> None:
        after = await self.prime()
        while True:
            try:
                page = await self._reader.events(self.owner_id, after=after)
            except errors.OutOfRange:
                await self.restart()
                return
            for event in page.events:
                self._accept(event)
            newest = max(page.latest_sequence, self._highest_sequence)
            if not page.events or (self._position or 0) >= newest:
                return
            after = page.events[-1].sequence

    def _accept(self, event: job_events_pb2.JobEvent) -> None:
        """Send the next transition; ignore any other."""
        if self._position is None or event.sequence != self._position + 1:
            return
        self._position = event.sequence
        job = event.job
        self.jobs.note(job)
        for latest in self.resources:
            if job.spec.kind in latest.source.job_kinds:
                latest.expect_change(job)
        frame = self.transition_frame(event)
        self._remember(frame)
        # Not the position of the message: it may carry events of several traces, and those that it lost are read.
        with tracing.continued(tracing.within(job.spec.traceparent)):
            self._send(frame)
        if self.connections:
            metrics.STREAM_DELIVERY_SECONDS.observe(max(0.0, time.time() - event.occur_time.ToNanoseconds() / 1e9))

    def _remember(self, frame: frames.Frame) -> None:
        self._ring.append(frame)
        self._ring_bytes += len(frame.data)
        while len(self._ring) > RING or self._ring_bytes > RING_BYTES:
            self._ring_bytes -= len(self._ring.popleft().data)

    def _send(self, frame: frames.Frame) -> None:
        if not self.connections:
            return
        attributes: tracing.Attributes = {"stream.event": frame.event, "stream.count": len(self.connections)}
        with tracing.span("stream frame", "producer", attributes):
            for stream in self.connections:
                stream.send(frame)


def _log_failure(task: asyncio.Task[None]) -> None:
    if task.cancelled() or (error := task.exception()) is None:
        return
    # The next sweep tries again.
    level = logging.WARNING if isinstance(error, errors.Unavailable) else logging.ERROR
    logger.log(level, "catch-up failed", extra={"cause": repr(error)[:200]})
