"""Submits of the jobs of demo mode; one that is refused for ever fails its demo mode."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from repruv.jobs.v1 import jobs_service_pb2
from services.demo import announcements, convert, domain, storage
from services.demo.domain import Action
from worker import JobsClient
from worker import outbox as worker_outbox

_REJECTED = domain.Error(code="job_rejected", message="The job for this could not be created.")


class Submissions(worker_outbox.Submitter):
    """Brings the jobs of demo mode to the jobs service."""

    def __init__(self, engine: AsyncEngine, jobs: JobsClient) -> None:
        super().__init__(jobs)
        self._engine = engine

    async def on_rejected(self, request: jobs_service_pb2.SubmitJobRequest) -> None:
        """Fail the demo mode, unless it has moved on."""
        async with self._engine.begin() as conn:
            mode = await storage.get_mode(conn, UUID(request.spec.owner_id), lock=True)
            generation = convert.generation(dict(request.spec.payload))
            if (str(mode.job_id), mode.generation) != (request.job_id, generation):
                return
            if failed := await storage.close(conn, mode, Action.FAIL, error=_REJECTED):
                await announcements.announce(conn, failed, Action.FAIL)
