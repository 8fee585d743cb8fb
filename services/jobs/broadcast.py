"""Broadcasts over NATS: events, wake-ups, progress and cancel requests. Any of them may be lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from uuid import UUID

from google.protobuf.message import Message

from chassis import bus, tracing
from repruv.jobs.v1 import job_events_pb2
from services.jobs import channels, convert
from services.jobs.domain import Job

logger = logging.getLogger(__name__)

Broadcast = tuple[str, bytes, str]
"""Subject, payload, and the position in a trace; empty: the current one."""
MAX_SENDING = 10_000
"""Broadcasts at once; further ones are dropped. They wait only while the connection to NATS does not take them."""


class Broadcaster:
    """Sends ephemeral messages without waiting for them."""

    def __init__(self, nats: bus.Bus) -> None:
        self._bus = nats
        self._sending: set[asyncio.Task[None]] = set()

    def progress(self, job: Job) -> None:
        """Broadcast the progress of a job to its watchers, without the payload."""
        self.send(
            channels.PROGRESS.subject(job.spec.owner_id),
            job_events_pb2.JobProgressed(job=convert.job_to_proto(job, max_bytes=0)),
        )

    def logged(self, owner_id: UUID, job_id: UUID, attempt: int, line_count: int) -> None:
        """Broadcast that an attempt has logged lines, without their texts."""
        message = job_events_pb2.LinesLogged(job_id=str(job_id), attempt=attempt, line_count=line_count)
        self.send(channels.LOGS.subject(owner_id), message)

    def send(self, subject: str, message: Message) -> None:
        self.send_all([(subject, message.SerializeToString(), "")])

    def send_all(self, messages: Sequence[Broadcast]) -> None:
        """Broadcast messages in order. They are dropped while `MAX_SENDING` other calls wait."""
        if len(self._sending) >= MAX_SENDING:
            return
        task = asyncio.create_task(self._send(messages))
        self._sending.add(task)
        task.add_done_callback(self._on_sent)

    async def _send(self, messages: Sequence[Broadcast]) -> None:
        for subject, payload, traceparent in messages:
            with tracing.use_position(traceparent):
                await self._bus.broadcast(subject, payload)

    def _on_sent(self, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        if not task.cancelled() and (error := task.exception()):
            logger.warning("a broadcast failed", extra={"cause": repr(error)[:200]})
