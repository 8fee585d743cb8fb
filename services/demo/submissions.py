"""Submits of accepted jobs: at once after the commit, and by the outbox if that did not arrive."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from chassis import errors, outbox
from repruv.jobs.v1 import jobs_service_pb2
from services.demo import announcements, convert, domain, schema, storage
from services.demo.domain import Action
from services.demo.jobs import Jobs

logger = logging.getLogger(__name__)

PREFIX = "submit."
SUBJECT = "submit.job"
OUTBOX_DELAY = timedelta(seconds=2)
"""The relay submits a job after this, unless the call made right after the commit has done so."""
REPLY_WAIT = 0.075
"""How long (seconds) a reply waits for that call, so that the job it names can be asked for; never for the job's work."""

_REJECTIONS = (errors.InvalidArgument, errors.AlreadyExists, errors.PermissionDenied)
_REJECTED = domain.Error(code="job_rejected", message="The job for this could not be created.")


class Submissions:
    """Brings accepted jobs to the jobs service; the same one may arrive several times, and is one job."""

    def __init__(self, engine: AsyncEngine, jobs: Jobs) -> None:
        self._engine = engine
        self._jobs = jobs
        self._calls: set[asyncio.Task[None]] = set()

    async def keep(self, conn: AsyncConnection, request: jobs_service_pb2.SubmitJobRequest) -> UUID:
        """Put a submit into the outbox, in the transaction that accepts the job; gives the message's id."""
        message = outbox.Message(subject=SUBJECT, payload=request.SerializeToString(), delay=OUTBOX_DELAY)
        (message_id,) = await outbox.add(conn, schema.outbox, [message])
        return message_id

    async def submit_now(self, request: jobs_service_pb2.SubmitJobRequest, message_id: UUID) -> None:
        """Submit right after the commit; returns when that arrived or failed, or after `REPLY_WAIT` while it goes on."""
        arrived = asyncio.Event()
        call = asyncio.create_task(self._submit_and_withdraw(request, message_id, arrived))
        self._calls.add(call)
        call.add_done_callback(self._ended)
        try:
            async with asyncio.timeout(REPLY_WAIT):
                await arrived.wait()
        except TimeoutError:
            logger.warning("answered before the job was submitted", extra={"job_id": request.job_id})

    async def relay(self, message_id: str, subject: str, payload: bytes) -> None:
        """Submit what the outbox has kept; raises if it should be repeated."""
        await self.submit(jobs_service_pb2.SubmitJobRequest.FromString(payload))

    async def submit(self, request: jobs_service_pb2.SubmitJobRequest) -> None:
        """Submit; a job that will be refused for ever fails its demo mode, whose owner must not wait for ever."""
        try:
            await self._jobs.submit(request)
        except _REJECTIONS as error:
            logger.exception("job rejected", extra={"job_id": request.job_id, "code": error.code})
            await self._fail(request)

    async def _submit_and_withdraw(
        self, request: jobs_service_pb2.SubmitJobRequest, message_id: UUID, arrived: asyncio.Event
    ) -> None:
        try:
            await self._jobs.submit(request)
        except errors.Error as error:
            logger.warning("the outbox will submit", extra={"job_id": request.job_id, "cause": error.code})
            return
        finally:
            arrived.set()
        async with self._engine.begin() as conn:
            await outbox.withdraw(conn, schema.outbox, message_id)

    def _ended(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        if not call.cancelled() and (error := call.exception()):
            logger.warning("the outbox submits once more", extra={"cause": repr(error)[:200]})

    async def _fail(self, request: jobs_service_pb2.SubmitJobRequest) -> None:
        async with self._engine.begin() as conn:
            mode = await storage.get_mode(conn, UUID(request.spec.owner_id), lock=True)
            generation = convert.generation(dict(request.spec.payload))
            if (str(mode.job_id), mode.generation) != (request.job_id, generation):
                return
            if failed := await storage.close(conn, mode, Action.FAIL, error=_REJECTED):
                await announcements.announce(conn, failed, Action.FAIL)
