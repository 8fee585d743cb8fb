"""Settles resources by the newest jobs that ended without success, whose events may have been lost."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

from chassis import errors, postgres
from lifecycle import updates
from lifecycle.settler import Settler
from worker import JobsClient

logger = logging.getLogger(__name__)

PASS_SECONDS = 300.0
"""Between two passes while NATS is connected. A shorter one would keep the connection to the jobs service open."""
MAX_JOB_AGE = timedelta(days=1)
"""The age, since their submit, up to which jobs are read."""
MAX_FAILURES = 20
"""Failures that end a pass: the database does not answer."""
PAGES = 5
"""Pages of 100 jobs of one pass, the newest first."""


class UnsuccessfulJobs:
    """The jobs of some lifecycles that failed or were cancelled. Runs in every replica.

    The sweep finds the states that a job should still move. This finds those that a job has moved on and then left without
    success.
    """

    def __init__(self, jobs: JobsClient, *settlers: Settler[Any, Any]) -> None:
        self._jobs = jobs
        self._settlers = {kind: settler for settler in settlers for kind in settler.lifecycle.machine.steps}
        self._known_ends: set[tuple[str, int]] = set()
        """Job and version of those that need not be settled again; at most 500."""

    async def settle(self) -> int:
        """Settle resources by the jobs that have ended since the last pass; return how many. One that fails stops no other."""
        count = failures = 0
        try:
            listed = await self._jobs.list_unsuccessful(self._settlers, age=MAX_JOB_AGE, pages=PAGES)
            listed_ends = {(job.job_id, job.version) for job in listed}
            self._known_ends &= listed_ends
            for job_id, version in listed_ends - self._known_ends:
                if await self._try_settle(job_id):
                    self._known_ends.add((job_id, version))
                    count += 1
                elif (failures := failures + 1) == MAX_FAILURES:
                    break
        except errors.Unavailable as error:
            logger.warning("unsuccessful jobs not read", extra={"cause": error.code})
        return count

    async def _try_settle(self, job_id: str) -> bool:
        """Settle the resource of a job; return False if that fails. Raises `Unavailable` if the jobs service does not answer."""
        try:
            if job := await self._jobs.get(job_id):
                settler = self._settlers[job.spec.kind]
                if update := updates.from_job(settler.lifecycle.rows, job):
                    await settler.settle(update)
        except ValueError as error:
            logger.warning("job without a resource", extra={"job_id": job_id, "cause": str(error)})
        except errors.Unavailable:
            raise
        except Exception as error:
            expected = postgres.translate(error)
            logger.warning(
                "job not settled",
                extra={"job_id": job_id, "cause": expected.code if expected else repr(error)[:200]},
                exc_info=None if expected else error,
            )
            return False
        return True
