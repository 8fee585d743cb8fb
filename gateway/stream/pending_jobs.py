"""Shows jobs as pending that a service has accepted but not submitted yet.

A service responds once its own transaction is committed. The relay submits the job afterwards: usually within milliseconds, or
when the jobs service is up again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from uuid import UUID

from chassis import errors, ids
from gateway import clients
from gateway.stream.sources import Source, Sources
from repruv.jobs.v1 import job_pb2

PAUSES = (0.01, 0.03, 0.1, 0.3, 0.6)
"""Seconds between the tries of `PendingJobs.wait`."""

Answer = TypeVar("Answer")


class PendingJobs:
    """Finds a job in the jobs service, or in the resource whose state it moves."""

    def __init__(self, jobs: clients.Jobs, sources: Sources) -> None:
        self._jobs = jobs
        self._sources = [source for source in sources.unordered if source.has_state]

    async def get_job(self, job_id: str, *, identity: str) -> job_pb2.Job:
        """Return a job that the user may see; `pending` until it is submitted. Raises `NotFound`."""
        try:
            return (await self._jobs.get_job(identity, job_id=job_id)).job
        except errors.NotFound:
            if spec := await self._accepted(job_id, identity):
                return _pending(job_id, spec)
            # It may have been submitted, and even ended, in between.
            return (await self._jobs.get_job(identity, job_id=job_id)).job

    async def wait(self, job_id: str, call: Callable[[], Awaitable[Answer]], *, identity: str) -> Answer:
        """Return the answer of `call`, repeated until the job is submitted. Raises `NotFound`, or `job_not_ready`."""
        for pause in PAUSES:
            try:
                return await call()
            except errors.NotFound:
                if not await self._accepted(job_id, identity):
                    return await call()
            await asyncio.sleep(pause)
        raise errors.Unavailable(
            "This job was accepted and is not submitted yet. Try again in a moment.", code="job_not_ready"
        )

    async def _accepted(self, job_id: str, identity: str) -> job_pb2.JobSpec | None:
        answers = await asyncio.gather(
            *(_spec(source, job_id, identity) for source in self._sources), return_exceptions=True
        )
        failure = None
        for answer in answers:
            if isinstance(answer, job_pb2.JobSpec):
                return answer
            failure = failure or answer
        if failure is not None:
            raise failure
        return None


async def _spec(source: Source[Any], job_id: str, identity: str) -> job_pb2.JobSpec | None:
    for snapshot in (await source.fetch(identity)).snapshots:
        if source.job_id(snapshot) == job_id and source.is_in_progress(snapshot):
            return source.job_spec(snapshot)
    return None


def _pending(job_id: str, spec: job_pb2.JobSpec) -> job_pb2.Job:
    """Return the job as it will be submitted; its version 0 is older than any version it will have."""
    job = job_pb2.Job(job_id=job_id, spec=spec, state=job_pb2.JOB_STATE_PENDING)
    job.create_time.FromDatetime(ids.timestamp_of(UUID(job_id)))
    return job
