"""NATS in: the end of a long job submits the email of its owner and window. Delivered at least once and in any order."""

from __future__ import annotations

import logging
import uuid

from google.protobuf.message import DecodeError

import worker
from chassis import bus, errors, protobuf
from repruv.jobs.v1 import job_events_pb2
from services.auth.email import jobs as email_jobs
from services.auth.notifications import domain

logger = logging.getLogger(__name__)

SUBJECT = "jobs.long_ended"
"""The subject of the ends of long jobs, after `jobs.events.`."""
_REJECTIONS = (errors.InvalidArgument, errors.AlreadyExists)


class LongJobs:
    """Submits one job `auth.email` for each owner and window, whose id is derived from both: a repeat is the same job."""

    def __init__(self, jobs: worker.JobsClient) -> None:
        self._jobs = jobs

    async def receive(self, message: bus.Received) -> None:
        """Submit the emails of a message. Raises `bus.Undecodable`, and errors after which it is delivered again."""
        try:
            events = job_events_pb2.JobEvents.FromString(message.payload).events
            ended = {
                (
                    uuid.UUID(event.owner_id),
                    domain.window_of(protobuf.from_timestamp(event.job.finish_time, "finish_time")),
                )
                for event in events
                if event.owner_id != worker.SYSTEM and event.job.HasField("finish_time")
            }
        except (DecodeError, ValueError) as error:
            raise bus.Undecodable(message.subject) from error
        submits = [email_jobs.ended_jobs(user_id, window) for user_id, window in sorted(ended)]
        for result in await self._jobs.submit_many(submits):
            if isinstance(result, _REJECTIONS):
                logger.error("an email about ended jobs was rejected", extra={"code": result.code})
            elif isinstance(result, errors.Error):
                raise result
