"""Submits of the jobs of connections; one that is refused for ever ends its transition."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from repruv.jobs.v1 import jobs_service_pb2
from services.auth.connections import announcements, convert, domain, storage
from services.auth.connections.domain import Action, JobKind, State
from worker import JobsClient
from worker import outbox as worker_outbox


class Submissions(worker_outbox.Submitter):
    """Brings the auth service's jobs to the jobs service."""

    def __init__(
        self,
        engine: AsyncEngine,
        jobs: JobsClient,
        announced: announcements.Announcements,
        *,
        others: worker_outbox.Submitter,
    ) -> None:
        """`others` are told when a job is refused that is none of a connection's."""
        super().__init__(jobs)
        self._engine = engine
        self._announced = announced
        self._others = others

    async def on_rejected(self, request: jobs_service_pb2.SubmitJobRequest) -> None:
        """Fail the connect, or end the disconnect without its job; unless the connection has moved on."""
        if request.spec.kind == convert.GIVE_BACK:
            # What was set aside stays, and the upkeep submits it again.
            return
        if request.spec.kind not in set(JobKind):
            await self._others.on_rejected(request)
            return
        platform, generation = convert.of_payload(dict(request.spec.payload))
        async with self._engine.begin() as conn:
            connection = await storage.get(conn, UUID(request.spec.owner_id), platform, lock=True)
            known = (str(connection.job_id), connection.generation, connection.is_moving)
            if known != (request.job_id, generation, True):
                return
            if connection.state is State.DISCONNECTING:
                action = Action.FORCE_DISCONNECT
                ended = await storage.move(conn, connection, action)
            else:
                action = Action.FAIL_CONNECT
                ended = await storage.fail(conn, connection, action, domain.error(domain.ErrorCode.JOB_REJECTED))
            if ended:
                await self._announced.announce(conn, ended, action)
