"""NATS in: events of jobs submit emails about them. Delivered at least once and in any order."""

from __future__ import annotations

import logging

from google.protobuf.message import DecodeError

import worker
from chassis import bus, errors, streams
from repruv.jobs.v1 import job_events_pb2
from services.auth.notifications import ended_jobs

logger = logging.getLogger(__name__)

FILTER = "notifications.>"
"""The subjects of events that are published for notifications, after `jobs.events.`."""
_SUBMITS = {streams.events_subject("jobs", ended_jobs.SUBJECT): ended_jobs.submits}
"""By subject, the function that returns the jobs of a message's emails."""
_REJECTIONS = (errors.InvalidArgument, errors.AlreadyExists)


class Subscriber:
    """Submits jobs `auth.email`. Their ids derive from what they are about: a repeat is the same job."""

    def __init__(self, jobs: worker.JobsClient) -> None:
        self._jobs = jobs

    @staticmethod
    def consumes(subject: str) -> bool:
        """Return whether messages of a subject submit emails."""
        return subject in _SUBMITS

    async def receive(self, message: bus.Received) -> None:
        """Submit the emails of a message. Raises `bus.Undecodable`, and errors after which it is delivered again."""
        try:
            submits = _SUBMITS[message.subject](job_events_pb2.JobEvents.FromString(message.payload).events)
        except (DecodeError, ValueError) as error:
            raise bus.Undecodable(message.subject) from error
        for result in await self._jobs.submit_many(submits):
            if isinstance(result, _REJECTIONS):
                logger.error("an email about jobs was rejected", extra={"code": result.code})
            elif isinstance(result, errors.Error):
                raise result
