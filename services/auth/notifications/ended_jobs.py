"""Finds what the email of a window tells about: long jobs that ended unread while their owner was away."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncEngine

import worker
from chassis import protobuf
from repruv.jobs.v1 import job_pb2
from services.auth import domain
from services.auth.notifications import domain as notifications
from services.auth.notifications import storage
from services.auth.notifications.domain import EndedJob

MAX_READ = 1_000
"""The newest unread jobs that are looked through."""
_ENDS = {job_pb2.JOB_STATE_COMPLETED: True, job_pb2.JOB_STATE_FAILED: False}


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedJobs:
    """The jobs service has the jobs, this service the settings and the sessions."""

    engine: AsyncEngine
    jobs: worker.JobsClient

    async def find(self, user: domain.User, window: datetime) -> Sequence[EndedJob]:
        """Return the jobs to report, the latest first: at the time of the email, not of the event."""
        if user.job_emails is domain.JobEmails.NONE:
            return []
        async with self.engine.connect() as conn:
            last_used_at = await storage.last_used_at(conn, user.user_id)
        return [
            job
            for job in await self._unread(user.user_id, window)
            if notifications.is_reported(job, window, last_used_at)
            and not (job.is_completed and user.job_emails is domain.JobEmails.FAILED)
        ]

    async def _unread(self, user_id: uuid.UUID, since: datetime) -> Sequence[EndedJob]:
        found: list[EndedJob] = []
        token, read = "", 0
        while read < MAX_READ:
            page = await self.jobs.list_notifications(str(user_id), page_token=token)
            ended = [_ended(job) for job in page.jobs if job.state in _ENDS and job.HasField("start_time")]
            found += ended
            read, token = read + len(page.jobs), page.next_page_token
            if not token or any(job.finished_at < since for job in ended):
                break
        return found


def _ended(job: job_pb2.Job) -> EndedJob:
    return EndedJob(
        job_id=uuid.UUID(job.job_id),
        kind=job.spec.kind,
        is_completed=_ENDS[job.state],
        error_message=job.error.message if job.HasField("error") else "",
        started_at=protobuf.from_timestamp(job.start_time, "start_time"),
        finished_at=protobuf.from_timestamp(job.finish_time, "finish_time"),
    )
