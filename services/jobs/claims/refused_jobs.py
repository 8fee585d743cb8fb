"""Jobs that the database refuses to claim: claims leave them out, so that one such row does not stop its kind."""

from __future__ import annotations

import logging
import time
from uuid import UUID

logger = logging.getLogger(__name__)

EXCLUDED_SECONDS = 60.0
"""Time after which a job may be claimed again: its row may have been repaired."""
MAX_JOBS = 1_000


class RefusedJobs:
    """The refused jobs that one replica knows."""

    def __init__(self) -> None:
        self._until: dict[UUID, float] = {}

    def add(self, job_id: UUID) -> None:
        """Exclude a job from claims; called in the handler of the error. The oldest ones are forgotten."""
        logger.exception("a job cannot be claimed", extra={"job_id": job_id})
        while len(self._until) >= MAX_JOBS:
            del self._until[next(iter(self._until))]
        self._until[job_id] = time.monotonic() + EXCLUDED_SECONDS

    def excluded(self) -> list[UUID]:
        """Return the jobs that claims leave out now."""
        if self._until:
            now = time.monotonic()
            self._until = {job_id: until for job_id, until in self._until.items() if until > now}
        return list(self._until)
