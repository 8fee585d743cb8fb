"""The email about long jobs that ended unread while their owner was away: one for each owner and window."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from sqlalchemy.ext.asyncio import AsyncEngine

import worker
from chassis import ids, protobuf, time_zones
from repruv.jobs.v1 import job_events_pb2, job_pb2
from services.auth import domain
from services.auth.email import jobs as email_jobs
from services.auth.email import layout
from services.auth.email.message import Email
from services.auth.notifications import domain as notifications
from services.auth.notifications import kind_names, storage
from services.auth.notifications.domain import EndedJob

PURPOSE = "ended_jobs"
SUBJECT = "notifications.long_ended"
"""The subject of the events, after `jobs.events.`."""
MAX_READ = 1_000
"""The newest unread jobs that are looked through."""
MAX_LISTED_JOBS = 10
"""Jobs that an email names; it counts the others."""
_ENDS = {job_pb2.JOB_STATE_COMPLETED: True, job_pb2.JOB_STATE_FAILED: False}


def submits(events: Iterable[job_events_pb2.JobEvent]) -> Sequence[worker.NewJob]:
    """Return the jobs that send the emails about events. Raises `ValueError` for an event that cannot be read."""
    windows = {
        (
            uuid.UUID(event.owner_id),
            notifications.window_of(protobuf.from_timestamp(event.job.finish_time, "finish_time")),
        )
        for event in events
        if event.owner_id != worker.SYSTEM and event.job.HasField("finish_time")
    }
    return [submit(user_id, window) for user_id, window in sorted(windows)]


def submit(user_id: uuid.UUID, window: datetime) -> worker.NewJob:
    """Return the job that emails a user about a window. Its id follows from both: there is one such job."""
    return email_jobs.new_job(
        email_jobs.Payload(PURPOSE, user_id=str(user_id), about=window.isoformat()),
        job_id=str(ids.uuid7_of(window, f"ended-jobs:{user_id}")),
        run_at=window + notifications.WINDOW + notifications.DELAY,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedJobs:
    """The jobs service has the jobs, this service the settings and the sessions."""

    engine: AsyncEngine
    jobs: worker.JobsClient
    public_url: str

    async def render(self, user: domain.User, about: str) -> Email | None:
        """Return the email about the window that begins at `about`; None if there is nothing to report.

        It reports the jobs that match at the time of the email, not of the event.
        """
        if not (ended_jobs := await self._find(user, datetime.fromisoformat(about))):
            return None
        return _email(user.email, ended_jobs, zone=time_zones.find(user.time_zone) or UTC, public_url=self.public_url)

    async def _find(self, user: domain.User, window: datetime) -> Sequence[EndedJob]:
        """Return the jobs to report, the latest first."""
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
        unread: list[EndedJob] = []
        token, read = "", 0
        while read < MAX_READ:
            page = await self.jobs.list_notifications(str(user_id), page_token=token)
            ended_jobs = [_ended_job(job) for job in page.jobs if job.state in _ENDS and job.HasField("start_time")]
            unread += ended_jobs
            read, token = read + len(page.jobs), page.next_page_token
            if not token or any(job.finished_at < since for job in ended_jobs):
                break
        return unread


def _ended_job(job: job_pb2.Job) -> EndedJob:
    return EndedJob(
        job_id=uuid.UUID(job.job_id),
        kind=job.spec.kind,
        is_completed=_ENDS[job.state],
        error_message=job.error.message if job.HasField("error") else "",
        started_at=protobuf.from_timestamp(job.start_time, "start_time"),
        finished_at=protobuf.from_timestamp(job.finish_time, "finish_time"),
    )


def _email(to: str, ended_jobs: Sequence[EndedJob], *, zone: tzinfo, public_url: str) -> Email:
    """Tell a user about the long jobs that ended while they were away, the latest first."""
    closing = f"Choose what we email you: {public_url}/settings/notifications"
    if len(ended_jobs) == 1:
        [job] = ended_jobs
        paragraphs: list[str | layout.Linked] = [
            f"This job {_state(job)} after {_duration(job.run_time)}, while you were away.",
            f"When: {layout.local_time(job.finished_at, zone)}",
            *([f"What went wrong: {job.error_message}"] if job.error_message else []),
        ]
        return layout.email(to, _ending(job), paragraphs, ("View the job", f"{public_url}/jobs/{job.job_id}"), closing)
    failed = sum(not job.is_completed for job in ended_jobs)
    counts = [
        f"{count} {state}" for count, state in ((len(ended_jobs) - failed, "completed"), (failed, "failed")) if count
    ]
    paragraphs = [
        "These jobs ended while you were away:",
        *(
            layout.Linked(
                f"{_ending(job)} after {_duration(job.run_time)}, {layout.local_time(job.finished_at, zone)}",
                f"{public_url}/jobs/{job.job_id}",
            )
            for job in ended_jobs[:MAX_LISTED_JOBS]
        ),
        *([f"And {len(ended_jobs) - MAX_LISTED_JOBS} more."] if len(ended_jobs) > MAX_LISTED_JOBS else []),
    ]
    return layout.email(
        to,
        f"Your jobs: {', '.join(counts)}",
        paragraphs,
        ("View notifications", f"{public_url}/notifications"),
        closing,
    )


def _ending(job: EndedJob) -> str:
    return f"{kind_names.kind(job.kind)}: {_state(job)}"


def _state(job: EndedJob) -> str:
    return "completed" if job.is_completed else "failed"


def _duration(duration: timedelta) -> str:
    """Return for example 1 h 5 min, or 2 min 10 s."""
    minutes, seconds = divmod(round(duration.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [(hours, "h"), (minutes, "min")] if hours else [(minutes, "min"), (seconds, "s")]
    return " ".join(f"{value} {unit}" for value, unit in parts if value)
