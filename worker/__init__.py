"""The job worker runtime. README.md describes it."""

from __future__ import annotations

from worker._api.blocking import BlockingContext
from worker._api.context import Context
from worker._api.jobs import SYSTEM, Child, Children, JobOptions, NewJob, Progress, SubmittedJob, new_job
from worker._api.kinds import Kind, Schedule
from worker._api.outcomes import Cancelled, Discard, JobFailed, Snooze, WaitForChildren
from worker._runtime.worker import Worker
from worker.client import JobsClient

__all__ = [
    "SYSTEM",
    "BlockingContext",
    "Cancelled",
    "Child",
    "Children",
    "Context",
    "Discard",
    "JobFailed",
    "JobOptions",
    "JobsClient",
    "Kind",
    "NewJob",
    "Progress",
    "Schedule",
    "Snooze",
    "SubmittedJob",
    "WaitForChildren",
    "Worker",
    "new_job",
]
