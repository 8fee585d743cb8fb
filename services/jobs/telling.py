"""What others are told over NATS beside the answer: doorbells, on which nothing depends."""

from __future__ import annotations

import asyncio
import logging

from google.protobuf.message import Message

from chassis import bus
from repruv.jobs.v1 import job_events_pb2
from services.jobs import convert
from services.jobs.domain import Job

logger = logging.getLogger(__name__)


class Telling:
    """Tells, and waits for nobody."""

    def __init__(self, nats: bus.Bus) -> None:
        self._bus = nats
        self._told: set[asyncio.Task[None]] = set()

    def show(self, job: Job) -> None:
        """Show the progress of a job to whoever watches."""
        self.tell(f"jobs.progress.{job.spec.owner_id}", job_events_pb2.JobProgressed(job=convert.job_to_proto(job)))

    def tell(self, subject: str, message: Message) -> None:
        """Send a message that may be lost."""
        task = asyncio.create_task(self._bus.publish_ephemeral(subject, message.SerializeToString()))
        self._told.add(task)
        task.add_done_callback(self._told_done)

    def _told_done(self, task: asyncio.Task[None]) -> None:
        self._told.discard(task)
        if not task.cancelled() and (error := task.exception()):
            logger.warning("NATS was not told", extra={"cause": repr(error)[:200]})
