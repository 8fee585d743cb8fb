"""Which ended jobs an email tells their owner about, and when. Pure: no database, no clock."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

LONG_RUN = timedelta(minutes=1)
"""The run time from which a job is long. The jobs service publishes the end of such jobs; a contract test compares both."""
WINDOW = timedelta(minutes=15)
"""An email tells about the jobs that ended in one window. Windows begin at fixed times, so a user gets at most four an hour."""
DELAY = timedelta(minutes=5)
"""Time between the end of a window and its email: time to come back, and for late events."""
AWAY = timedelta(minutes=5)
"""How long before the end of a job no session was used if its owner was away. The last use is accurate to as much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedJob:
    """A job that completed or failed."""

    job_id: uuid.UUID
    kind: str
    is_completed: bool
    error_message: str
    """For the owner; empty if it completed."""
    started_at: datetime
    finished_at: datetime

    @property
    def run_time(self) -> timedelta:
        """The time from the first claim to the end."""
        return self.finished_at - self.started_at


def window_of(moment: datetime) -> datetime:
    """Return the beginning of the window of a time."""
    epoch = datetime.fromtimestamp(0, UTC)
    return epoch + (moment - epoch) // WINDOW * WINDOW


def is_reported(job: EndedJob, window: datetime, last_used_at: datetime | None) -> bool:
    """Return whether the email of a window reports a job that its owner has not read.

    `last_used_at` is when a session of the owner was last used; None: there is none.
    """
    if job.run_time < LONG_RUN or window_of(job.finished_at) != window:
        return False
    return last_used_at is None or last_used_at <= job.finished_at - AWAY
