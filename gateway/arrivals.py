"""Jobs that were accepted an instant ago and are on their way to the jobs service: they exist, and nobody is told otherwise.

The demo service answers once its own transaction is committed; the job reaches the jobs service beside that, usually within
milliseconds, or when the jobs service is back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar
from uuid import UUID

from chassis import errors, ids
from gateway import clients, views
from repruv.demo.v1 import demo_pb2
from repruv.jobs.v1 import job_pb2

PAUSES = (0.01, 0.03, 0.1, 0.3, 0.6)

Answer = TypeVar("Answer")


class Arrivals:
    """Looks for jobs where they are and where they come from."""

    def __init__(self, jobs: clients.Jobs, demo: clients.Demo) -> None:
        self._jobs = jobs
        self._demo = demo

    async def get_job(self, job_id: str, *, user: str) -> job_pb2.Job:
        """Give one job that the user may see; `pending` while it is on its way. Raises `NotFound`."""
        try:
            return await self._jobs.get_job(job_id, user=user)
        except errors.NotFound:
            if mode := await self._accepted(job_id, user):
                return _pending(mode)
            # It may have arrived, and even ended, in between.
            return await self._jobs.get_job(job_id, user=user)

    async def wait(self, job_id: str, ask: Callable[[], Awaitable[Answer]], *, user: str) -> Answer:
        """Ask the jobs service about a job, again while it is on its way. Raises `NotFound`, or `job_not_ready`."""
        for pause in PAUSES:
            try:
                return await ask()
            except errors.NotFound:
                if not await self._accepted(job_id, user):
                    return await ask()
            await asyncio.sleep(pause)
        raise errors.Unavailable(
            "This job was accepted and has not begun; try again in a moment.", code="job_not_ready"
        )

    async def _accepted(self, job_id: str, user: str) -> demo_pb2.Demo | None:
        mode = (await self._demo.get_demo(user=user)).demo
        return mode if mode.job_id == job_id and views.demo_state(mode) in views.MOVING else None


def _pending(mode: demo_pb2.Demo) -> job_pb2.Job:
    """Show the job as it will be when it arrives; its version 0 is older than any that it will have."""
    job = job_pb2.Job(
        job_id=mode.job_id,
        spec=job_pb2.JobSpec(kind=mode.job_kind, owner_id=mode.owner_id),
        state=job_pb2.JOB_STATE_PENDING,
    )
    job.create_time.FromDatetime(ids.timestamp_of(UUID(mode.job_id)))
    return job
