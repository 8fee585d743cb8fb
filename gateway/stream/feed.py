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
from gateway.stream import event_reader, frames
from gateway.stream.snapshots import SourceSnapshots
from gateway.stream.sources import Source, Sources
from gateway.stream.stream import Stream
from repruv.jobs.v1 import job_events_pb2

logger = logging.getLogger(__name__)

MAX_RING_FRAMES = 64
MAX_RING_BYTES = 128 << 10
"""Transitions of an owner kept for replay, and their bytes; older ones are read, many owners' in one call."""


class Feed:
    """Sends an owner's events to the owner's streams."""

    __slots__ = (
        "_fetch",
        "_highest_sequence",
        "_interest",
        "_last_sequence",
        "_priming",
        "_reader",
        "_ring",
        "_ring_bytes",
        "_snapshots",
        "_sources",
        "idle_since",
        "jobs",
        "owner_id",
        "resources",
        "streams",
    )

    def __init__(
        self,
        owner_id: str,
        reader: event_reader.EventReader,
        sources: Sources,
        interests: interest.Interests,
    ) -> None:
        self.owner_id = owner_id
        self.streams: set[Stream] = set()
        self.jobs = SourceSnapshots(sources.jobs)
        self.resources = tuple(
            SourceSnapshots[Any](source, self.jobs) for source in sources.unordered if source.has_state
        )
        self.idle_since = asyncio.get_running_loop().time()
        self._sources = sources
        self._snapshots = {snapshots.source: snapshots for snapshots in (self.jobs, *self.resources)}
        self._reader = reader
        self._last_sequence: int | None = None
        self._highest_sequence = 0
        self._ring: deque[frames.Frame] = deque()
        self._ring_bytes = 0
        self._fetch: asyncio.Task[None] | None = None
        self._priming = asyncio.Lock()
        self._interest = interests.open(sources.subjects(owner_id), self._receive_message, self.invalidate)

    @property
    def last_sequence(self) -> int | None:
        """The sequence of the last transition sent; None before `prime`."""
        return self._last_sequence

    def close(self) -> None:
        """End the subscriptions."""
        self._interest.close()

    def invalidate(self) -> None:
        """Fetch the snapshots of all resources at the hub's next check: messages may have been missed."""
        for snapshots in self.resources:
            snapshots.invalidate()

    def remembers(self, cursor: int) -> bool:
        """Return whether every sent transition after `cursor` is still in memory."""
        return (
            self._last_sequence is not None and self._last_sequence - len(self._ring) <= cursor <= self._last_sequence
        )

    def since(self, cursor: int) -> list[frames.Frame]:
        """Return the remembered transitions after `cursor`."""
        return [frame for frame in self._ring if frame.sequence > cursor]

    async def prime(self, cursor: int | None = None) -> int:
        """Return the last sequence; the first call reads it, with the transitions after `cursor`. Raises `Unavailable`.

        It reads once NATS delivers the owner's messages, so every later transition arrives or leaves a gap.
        """
        async with self._priming:
            if self._last_sequence is None:
                await self._interest.wait()
                self._last_sequence = await self._read_last_sequence(cursor)
                self._start_fetch_after_gap()
            return self._last_sequence

    async def _read_last_sequence(self, cursor: int | None) -> int:
        if cursor is not None:
            # A cursor that does not exist is a matter of its stream.
            with contextlib.suppress(errors.OutOfRange):
                page = await self._reader.events(self.owner_id, after=cursor)
                if cursor + len(page.events) == page.latest_sequence:
                    for event in page.events[-MAX_RING_FRAMES:]:
                        self._remember(self.transition_frame(event))
                    return page.latest_sequence
        return await self._reader.last_sequence(self.owner_id)

    def _receive_message(self, subject: str, payload: bytes) -> None:
        prefix = subject.rpartition(".")[0]
        if prefix == self._sources.jobs.transitions_subject:
            for event in self._sources.jobs.parse_transitions(payload):
                self.receive_transition(event)
        elif (source := self._sources.by_subject.get(prefix)) is not None:
            self.receive(source, source.parse(payload))

    def receive_transition(self, event: job_events_pb2.JobEvent) -> None:
        """Handle a transition from NATS: the next one, a repeated one, or one after a gap."""
        self._highest_sequence = max(self._highest_sequence, event.sequence)
        if self._last_sequence is not None:
            self._accept(event)
            self._start_fetch_after_gap()

    def receive(self, source: Source[Any], snapshot: Any) -> None:
        """Send a snapshot of a source, unless a known one is as new."""
        snapshots = self._snapshots.get(source)
        if snapshots is not None and not snapshots.note(snapshot):
            return
        job = self.jobs.get(source.job_id(snapshot)) if source.job_kinds else None
        if (frame := source.frame(snapshot, job)) is not None:
            self._send(frame)

    def resource_frames(self, snapshots: SourceSnapshots[Any]) -> list[frames.Frame]:
        """Return the frames of the latest snapshots of a source, as `receive` sends them."""
        source = snapshots.source
        encoded = [source.frame(snapshot, self.jobs.get(source.job_id(snapshot))) for snapshot in snapshots.latest]
        return [frame for frame in encoded if frame is not None]

    async def fetch_snapshots(self, snapshots: SourceSnapshots[Any], stream: Stream) -> None:
        """Fetch the snapshots of a source as the user of `stream`; after a failure the hub tries again."""
        try:
            fetched = await snapshots.source.fetch(await stream.identity(), quick=True)
        except errors.Error as error:
            snapshots.invalidate()
            extra = {"owner_id": self.owner_id, "event": snapshots.source.event, "cause": error.code}
            logger.info("snapshots could not be fetched", extra=extra)
            return
        for job in fetched.jobs:
            self.jobs.note(job)
        for snapshot in fetched.snapshots:
            self.receive(snapshots.source, snapshot)
        snapshots.confirm()

    def transition_frame(self, event: job_events_pb2.JobEvent) -> frames.Frame:
        return self._sources.jobs.frame(event.job, sequence=event.sequence)

    async def catch_up(self) -> None:
        """Send everything up to the newest transition in the database; callers share one fetch. Raises `Unavailable`."""
        await asyncio.shield(self._start_fetch())

    async def restart(self) -> None:
        """Continue from the newest transition, because those before it are not available, and reset the streams."""
        latest = await self._reader.last_sequence(self.owner_id)
        self._last_sequence = self._highest_sequence = latest
        self._ring.clear()
        self._ring_bytes = 0
        for snapshots in self._snapshots.values():
            snapshots.clear()
        logger.warning("feed restarted", extra={"owner_id": self.owner_id, "sequence": latest})
        for stream in self.streams:
            stream.restart("cursor_unknown", latest)

    def _start_fetch_after_gap(self) -> None:
        is_behind = self._last_sequence is not None and self._highest_sequence > self._last_sequence
        if is_behind and not self._is_fetching:
            metrics.STREAM_GAPS.inc()
            self._start_fetch()

    def _start_fetch(self) -> asyncio.Task[None]:
        """Return the running fetch of missing transitions, or start one."""
        if self._fetch is None or self._fetch.done():
            self._fetch = asyncio.create_task(self._fetch_missing(), name=f"catch up {self.owner_id}")
            self._fetch.add_done_callback(_log_failure)
        return self._fetch

    @property
    def _is_fetching(self) -> bool:
        return self._fetch is not None and not self._fetch.done()

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
            if not page.events or (self._last_sequence or 0) >= newest:
                return
            after = page.events[-1].sequence

    def _accept(self, event: job_events_pb2.JobEvent) -> None:
        """Send the next transition; ignore any other."""
        if self._last_sequence is None or event.sequence != self._last_sequence + 1:
            return
        self._last_sequence = event.sequence
        job = event.job
        self.jobs.note(job)
        for snapshots in self.resources:
            if job.spec.kind in snapshots.source.job_kinds:
                snapshots.expect_change(job)
        frame = self.transition_frame(event)
        self._remember(frame)
        # Not the message's position in a trace: it may carry events of several traces, and lost ones are read.
        with tracing.use_position(tracing.position_in_trace_of(job.spec.traceparent)):
            self._send(frame)
        if self.streams:
            metrics.STREAM_DELIVERY_SECONDS.observe(max(0.0, time.time() - event.occur_time.ToNanoseconds() / 1e9))

    def _remember(self, frame: frames.Frame) -> None:
        self._ring.append(frame)
        self._ring_bytes += len(frame.data)
        while len(self._ring) > MAX_RING_FRAMES or self._ring_bytes > MAX_RING_BYTES:
            self._ring_bytes -= len(self._ring.popleft().data)

    def _send(self, frame: frames.Frame) -> None:
        if not self.streams:
            return
        attributes: tracing.Attributes = {"stream.event": frame.event, "stream.count": len(self.streams)}
        with tracing.span("stream frame", "producer", attributes):
            for stream in self.streams:
                stream.send(frame)


def _log_failure(task: asyncio.Task[None]) -> None:
    if task.cancelled() or (error := task.exception()) is None:
        return
    # The next check of the hub tries again.
    level = logging.WARNING if isinstance(error, errors.Unavailable) else logging.ERROR
    logger.log(level, "catch-up failed", extra={"cause": repr(error)[:200]})
