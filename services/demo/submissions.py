"""Submits of accepted jobs: by the outbox, at once after the commit and until they have arrived."""

from __future__ import annotations

import logging
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import errors, outbox
from repruv.jobs.v1 import jobs_service_pb2
from services.demo import announcements, convert, domain, storage
from services.demo.domain import Action
from services.demo.jobs import Jobs

logger = logging.getLogger(__name__)

PREFIX = "submit."
SUBJECT = "submit.job"

_REJECTIONS = (errors.InvalidArgument, errors.AlreadyExists, errors.PermissionDenied)
_REJECTED = domain.Error(code="job_rejected", message="The job for this could not be created.")


def kept(request: jobs_service_pb2.SubmitJobRequest) -> outbox.Message:
    """Write what the outbox keeps of a submit, from the transaction that accepts the job until the submit has arrived."""
    return outbox.Message(subject=SUBJECT, payload=request.SerializeToString(), delay=outbox.HEAD_START)


class Submissions:
    """Brings accepted jobs to the jobs service; the same one may arrive several times, and is one job."""

    def __init__(self, engine: AsyncEngine, jobs: Jobs) -> None:
        self._engine = engine
        self._jobs = jobs

    async def send(self, message_id: str, subject: str, payload: bytes) -> None:
        """Submit what the outbox has kept; raises if it should be repeated."""
        await self.submit(jobs_service_pb2.SubmitJobRequest.FromString(payload))

    async def submit(self, request: jobs_service_pb2.SubmitJobRequest) -> None:
        """Submit; a job that will be refused for ever fails its demo mode, whose owner must not wait for ever."""
        try:
            await self._jobs.submit(request)
        except _REJECTIONS as error:
            logger.exception("job rejected", extra={"job_id": request.job_id, "code": error.code})
            await self._fail(request)

    async def _fail(self, request: jobs_service_pb2.SubmitJobRequest) -> None:
        async with self._engine.begin() as conn:
            mode = await storage.get_mode(conn, UUID(request.spec.owner_id), lock=True)
            generation = convert.generation(dict(request.spec.payload))
            if (str(mode.job_id), mode.generation) != (request.job_id, generation):
                return
            if failed := await storage.close(conn, mode, Action.FAIL, error=_REJECTED):
                await announcements.announce(conn, failed, Action.FAIL)
