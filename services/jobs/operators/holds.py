"""Jobs that operators put on hold: none of them is claimed until it is released."""

from __future__ import annotations

from uuid import UUID

from chassis import errors
from services.jobs import domain, operations, storage
from services.jobs.domain import Action, Job
from services.jobs.operators import change_log
from services.jobs.transaction import require_moved

NOT_HOLDABLE = "job_not_holdable"


class Holds:
    """Puts jobs on hold and releases them, and records who did; `actor_id` is None for the command line."""

    def __init__(self, jobs: operations.Operations) -> None:
        self._jobs = jobs

    async def hold(self, job_id: UUID, *, actor_id: UUID | None) -> Job:
        """Put a waiting job on hold; one that is on hold stays as it is.

        It keeps its run time, unique key and deadline, and takes no slot of its concurrency key. Raises `job_not_holdable`.
        """
        async with self._jobs.transaction() as tx:
            job = domain.owned(await storage.lock_job(tx.conn, job_id), None)
            if job.is_on_hold:
                return job
            if job.state not in domain.TRANSITIONS[Action.HOLD][0]:
                message = f"Only waiting jobs can be put on hold; this one is {job.state}."
                raise errors.FailedPrecondition(message, code=NOT_HOLDABLE)
            held = require_moved(await storage.hold(tx.conn, job))
            tx.transitions.append((held, "put_on_hold"))
            await change_log.JOBS.record(tx.conn, job_id, "hold", actor_id=actor_id)
        return held

    async def release(self, job_id: UUID, *, actor_id: UUID | None) -> Job:
        """Release a job: it runs at its former time, or now if that has passed. One that is not on hold stays as it is."""
        async with self._jobs.transaction() as tx:
            job = domain.owned(await storage.lock_job(tx.conn, job_id), None)
            if not job.is_on_hold:
                return job
            released = require_moved(await storage.release(tx.conn, job))
            tx.transitions.append((released, "released_from_hold"))
            await change_log.JOBS.record(tx.conn, job_id, "release", actor_id=actor_id)
        return released
