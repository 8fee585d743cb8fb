"""Submits of accepted jobs: at once after the commit, and by the outbox if that did not arrive."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

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

WITHDRAW_SECONDS = 0.25
"""How long (seconds) after a submit has arrived the outbox is told, in one transaction for all that arrive meanwhile."""

_REJECTIONS = (errors.InvalidArgument, errors.AlreadyExists, errors.PermissionDenied)
_REJECTED = domain.Error(code="job_rejected", message="The job for this could not be created.")


def kept(request: jobs_service_pb2.SubmitJobRequest) -> outbox.Message:
    """Write what the outbox keeps of a submit, from the transaction that accepts the job until the submit has arrived."""
    return outbox.Message(subject=SUBJECT, payload=request.SerializeToString(), delay=OUTBOX_DELAY)


class Submissions:
    """Brings accepted jobs to the jobs service; the same one may arrive several times, and is one job."""

    def __init__(self, engine: AsyncEngine, jobs: Jobs) -> None:
        self._engine = engine
        self._jobs = jobs
        self._arrived: list[UUID] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def submit_now(self, request: jobs_service_pb2.SubmitJobRequest, message_id: UUID) -> None:
        """Submit right after the commit; returns when that arrived or failed, or after `REPLY_WAIT` while it goes on."""
        call = self._start(self._submit_and_withdraw(request, message_id))
        arrived, _ = await asyncio.wait([call], timeout=REPLY_WAIT)
        if not arrived:
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

    async def _submit_and_withdraw(self, request: jobs_service_pb2.SubmitJobRequest, message_id: UUID) -> None:
        try:
            await self._jobs.submit(request)
        except errors.Error as error:
            logger.warning("the outbox will submit", extra={"job_id": request.job_id, "cause": error.code})
            return
        self._arrived.append(message_id)
        if len(self._arrived) == 1:
            self._start(self._withdraw_arrived())

    async def _withdraw_arrived(self) -> None:
        await asyncio.sleep(WITHDRAW_SECONDS)
        message_ids, self._arrived = self._arrived, []
        async with self._engine.begin() as conn:
            await outbox.withdraw(conn, schema.outbox, message_ids)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            logger.warning("the outbox submits once more", extra={"cause": repr(error)[:200]})

    async def _fail(self, request: jobs_service_pb2.SubmitJobRequest) -> None:
        async with self._engine.begin() as conn:
            mode = await storage.get_mode(conn, UUID(request.spec.owner_id), lock=True)
            generation = convert.generation(dict(request.spec.payload))
            if (str(mode.job_id), mode.generation) != (request.job_id, generation):
                return
            if failed := await storage.close(conn, mode, Action.FAIL, error=_REJECTED):
                await announcements.announce(conn, failed, Action.FAIL)
