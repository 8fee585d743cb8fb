"""Submits jobs through the outbox: the job is stored with the change that needs it, and sent after the commit."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod

from chassis import errors, outbox, tracing
from repruv.jobs.v1 import jobs_service_pb2
from worker.client import JobsClient

logger = logging.getLogger(__name__)

PREFIX = "submit."
SUBJECT = "submit.job"

# PermissionDenied is not among them: callers or keys are misconfigured, the job is not invalid.
_REJECTIONS = (errors.InvalidArgument, errors.AlreadyExists)
_WORK = frozenset({"owner_id", "kind", "payload"})
"""The fields that say what a job does. The others are options, which another version of the service may choose otherwise."""


def submit_message(request: jobs_service_pb2.SubmitJobRequest) -> outbox.Message:
    """Return the outbox message of a submit. The outbox keeps it until the jobs service has accepted the job."""
    request.spec.traceparent = tracing.position()
    return outbox.Message(subject=SUBJECT, payload=request.SerializeToString())


class Submitter(ABC):
    """Sends accepted jobs to the jobs service. A repeated submit is the same job."""

    def __init__(self, jobs: JobsClient) -> None:
        self._jobs = jobs

    @abstractmethod
    async def on_rejected(self, request: jobs_service_pb2.SubmitJobRequest) -> None:
        """Close the change whose job can never be accepted. Called before the outbox drops the submit."""

    async def send(self, message_id: str, subject: str, payload: bytes) -> None:
        """Submit a job of the outbox. Raises errors after which the outbox repeats it."""
        await self.submit(jobs_service_pb2.SubmitJobRequest.FromString(payload))

    async def submit(self, request: jobs_service_pb2.SubmitJobRequest) -> None:
        """Submit a job. Raises errors that a later submit may avoid."""
        try:
            await self._jobs.submit_request(request)
        except _REJECTIONS as error:
            if _is_stored(error):
                logger.info("job was submitted with other options", extra={"job_id": request.job_id, **error.details})
                return
            logger.exception("job rejected", extra={"job_id": request.job_id, "code": error.code})
            await self.on_rejected(request)


def _is_stored(error: errors.Error) -> bool:
    """Return whether a submit was refused because its job is stored already, with other options."""
    return error.code == "job_id_taken" and error.details.get("differs", "payload") not in _WORK
