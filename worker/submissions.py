"""Submits of accepted jobs: by the outbox, at once after the commit and until they have arrived."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod

from chassis import errors, outbox
from repruv.jobs.v1 import jobs_service_pb2
from worker.requests import Jobs

logger = logging.getLogger(__name__)

PREFIX = "submit."
SUBJECT = "submit.job"

_REJECTIONS = (errors.InvalidArgument, errors.AlreadyExists, errors.PermissionDenied)


def kept(request: jobs_service_pb2.SubmitJobRequest) -> outbox.Message:
    """Write what the outbox keeps of a submit, from the transaction that accepts the job until the submit has arrived."""
    return outbox.Message(subject=SUBJECT, payload=request.SerializeToString(), delay=outbox.RELAY_DELAY)


class Submissions(ABC):
    """Brings accepted jobs to the jobs service; the same one may arrive several times, and is one job."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    @abstractmethod
    async def rejected(self, request: jobs_service_pb2.SubmitJobRequest) -> None:
        """Do what must be done when a job will be refused for ever, so that nobody waits for it for ever."""

    async def send(self, message_id: str, subject: str, payload: bytes) -> None:
        """Submit what the outbox has kept; raises if it should be repeated."""
        await self.submit(jobs_service_pb2.SubmitJobRequest.FromString(payload))

    async def submit(self, request: jobs_service_pb2.SubmitJobRequest) -> None:
        """Submit; raises what may be over when it is done again."""
        try:
            await self._jobs.submit(request)
        except _REJECTIONS as error:
            logger.exception("job rejected", extra={"job_id": request.job_id, "code": error.code})
            await self.rejected(request)
