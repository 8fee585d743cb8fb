"""The job worker runtime; see README.md beside it."""

from __future__ import annotations

from worker.blocking import Blocking
from worker.client import JobsClient
from worker.context import Context
from worker.jobs import SYSTEM, Child, Children, Progress, Submitted, new_job
from worker.kinds import Kind, Schedule
from worker.outcomes import Cancelled, Discard, JobFailed, Snooze, WaitForChildren
from worker.worker import Worker

__all__ = [
    "SYSTEM",
    "Blocking",
    "Cancelled",
    "Child",
    "Children",
    "Context",
    "Discard",
    "JobFailed",
    "JobsClient",
    "Kind",
    "Progress",
    "Schedule",
    "Snooze",
    "Submitted",
    "WaitForChildren",
    "Worker",
    "new_job",
]
