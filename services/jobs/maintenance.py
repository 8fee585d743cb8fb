"""Tasks of the reconciler and the rescuer: each is one transaction over up to `BATCH` jobs and returns how many it moved."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from functools import partial
from uuid import UUID

from chassis import postgres, transactions
from chassis.prepared import Prepared
from services.jobs import counters, domain, due, expired_leases, finish, isolation, outcomes, storage, unreadable
from services.jobs.operations import Operations
from services.jobs.statements import OWNERS_OF_ORPHANS
from services.jobs.transaction import Transaction

logger = logging.getLogger(__name__)

BATCH = 100
"""Jobs moved in one transaction."""
REFUSED_PAUSE_SECONDS = 1.0
"""Pause after a change that the database refuses: it is tried again with each pass."""


class Maintenance:
    """Moves jobs that no call moves: expired leases, due and overdue jobs, orphans, free slots."""

    def __init__(self, jobs: Operations) -> None:
        self.jobs = jobs
        self._single = postgres.autocommit(jobs.engine)
        self._room = asyncio.Semaphore(isolation.PARALLEL)

    async def find_work(self) -> due.PendingWork:
        """Return what there is to do, by one query."""
        async with transactions.begin(self._single) as conn:
            return await due.find_work(conn)

    async def seconds_to_lease_expiry(self) -> float | None:
        """Return the seconds until the next lease expires, negative if one has; None if no job is held."""
        async with transactions.begin(self._single) as conn:
            return await expired_leases.seconds_to_lease_expiry(conn)

    async def rescue(self, *, grace: timedelta) -> int:
        """Return jobs with an expired lease to the queue, or end them; none within `grace` of the database's start.

        Jobs of an owner whose row is locked wait for the next rescue.
        """
        return await self._by_owner(partial(self._rescue, grace), expired_leases.OWNERS_WITH_EXPIRED_LEASE)

    async def _rescue(self, grace: timedelta, owner_id: UUID | None) -> int:
        async with self.jobs.transaction() as tx:
            expired = await expired_leases.jobs_with_expired_lease(tx.conn, limit=BATCH, grace=grace, owner_id=owner_id)
            self.jobs.waiters.evict({job.worker for job in expired if job.worker})
            cleared = await expired_leases.cleared(tx.conn, expired)
            rescued = await _end(tx, expired, lambda job: outcomes.Crashed(counts=job.job_id not in cleared))
        counters.RESCUED.inc(len(expired))
        for job in expired:
            state = rescued[job.job_id, job.attempt].state
            logger.warning("lease expired", extra={"job_id": job.job_id, "worker": job.worker, "state": state})
        return len(expired)

    async def end_overrun_attempts(self) -> int:
        """End attempts that outlive their timeout although their workers renew the leases: the handlers ignore it.

        Jobs of an owner whose row is locked wait for the next pass.
        """
        return await self._by_owner(self._end_overrun_attempts, due.OVERRUN_OWNERS)

    async def _end_overrun_attempts(self, owner_id: UUID | None) -> int:
        async with self.jobs.transaction() as tx:
            overrun = await due.overrun_jobs(tx.conn, limit=BATCH, owner_id=owner_id)
            await _end(tx, overrun, _overrun)
        for job in overrun:
            logger.warning("attempt ended after its timeout", extra={"job_id": job.job_id, "worker": job.worker})
        return len(overrun)

    async def promote_due(self) -> int:
        """Make due jobs claimable: scheduled jobs whose time has come, and retries whose backoff is over.

        Scheduled jobs of an owner whose row is locked wait for the next pass. Retries lock no owner, and wait for none.
        """
        retried = await self._by_owner(self._ready_retries, due.DUE_RETRY_OWNERS)
        return max(retried, await self._by_owner(self._promote_scheduled, due.DUE_OWNERS))

    async def _ready_retries(self, owner_id: UUID | None) -> int:
        async with self.jobs.transaction() as tx:
            kinds = await due.ready_retries(tx.conn, limit=BATCH, owner_id=owner_id)
            tx.wakeups.update(kinds)
        return len(kinds)

    async def _promote_scheduled(self, owner_id: UUID | None) -> int:
        async with self.jobs.transaction() as tx:
            promoted = await due.promote_due(tx.conn, limit=BATCH, owner_id=owner_id)
            tx.transitions += [(job, "due") for job in promoted]
        return len(promoted)

    async def fail_overdue(self) -> int:
        """Fail waiting jobs whose deadline has passed; those of an owner whose row is locked wait for the next pass."""
        return await self._by_owner(self._fail_overdue, due.OVERDUE_OWNERS)

    async def _fail_overdue(self, owner_id: UUID | None) -> int:
        async with self.jobs.transaction() as tx:
            failed = await due.fail_overdue(tx.conn, limit=BATCH, owner_id=owner_id)
            tx.transitions += [(job, "deadline_exceeded") for job in failed]
        return len(failed)

    async def _by_owner(self, task: Callable[[UUID | None], Awaitable[int]], owners_of: Prepared) -> int:
        """Run a task for all owners; if the row of one is locked, or a change of one is refused, run it for each of them.

        `owners_of` finds the owners of the jobs that the task would move.
        """
        try:
            return await self._retry_after_repair(partial(task, None))
        except Exception as error:
            if isolation.is_unavailable(error) and not isolation.is_contended(error):
                raise
        async with self._single.connect() as conn:
            owners = await owners_of.execute(conn, {"limit": BATCH})
        moved = await asyncio.gather(*(self._of_owner(task, owner_id) for (owner_id,) in owners))
        if None in moved:
            await asyncio.sleep(REFUSED_PAUSE_SECONDS)
        return sum(count or 0 for count in moved)

    async def _of_owner(self, task: Callable[[UUID | None], Awaitable[int]], owner_id: UUID) -> int | None:
        """Run a task for one owner; None if the database refuses a change of it."""
        async with self._room:
            try:
                return await self._retry_after_repair(partial(task, owner_id))
            except Exception as error:
                if isolation.is_contended(error):
                    return 0
                if isolation.is_unavailable(error):
                    raise
                logger.exception("jobs of an owner cannot be moved", extra={"owner_id": owner_id})
                return None

    async def _retry_after_repair(self, task: Callable[[], Awaitable[int]]) -> int:
        return await self.jobs.unreadable_rows.retry_after_repair(task, unreadable.maintenance_candidates(BATCH))

    async def cancel_orphans(self) -> int:
        """Cancel unfinished children of parents that failed or were cancelled.

        Those of an owner whose row is locked wait for the next pass.
        """
        return await self._by_owner(self._cancel_orphans, OWNERS_OF_ORPHANS)

    async def _cancel_orphans(self, owner_id: UUID | None) -> int:
        async with self.jobs.transaction() as tx:
            orphans = await storage.lock_orphans(tx.conn, limit=BATCH, owner_id=owner_id)
            for job in orphans:
                await tx.cancel(job, "parent_ended")
        return len(orphans)

    async def admit_waiting(self) -> int:
        """Admit jobs to free slots of concurrency keys that a transaction has missed; return the number of keys."""
        async with self.jobs.transaction() as tx:
            keys = await storage.keys_with_free_slots(tx.conn, limit=BATCH)
            if keys:
                tx.wakeups.update(await storage.admit_waiting(tx.conn, keys))
        return len(keys)

    async def wake_all(self) -> None:
        """Wake every waiting claim of a kind with ready jobs: wake-ups may be lost, and rate limits release jobs over time."""
        async with self._single.connect() as conn:
            kinds = await due.ready_kinds(conn)
        for kind in kinds:
            self.jobs.waiters.wake_here(kind)

    async def advance_fair_ranks(self) -> None:
        """Advance each kind's fair rank to that of its next job, or beyond the jobs that this replica has claimed."""
        claimed = self.jobs.claimed_ranks.take()
        async with self._single.connect() as conn:
            await due.advance_fair_ranks(conn, claimed, self.jobs.refused_jobs.excluded())


async def drain(task: Callable[[], Awaitable[int]]) -> None:
    """Repeat a task until it moves less than a full batch."""
    while await task() == BATCH:
        pass


async def _end(
    tx: Transaction, held: Sequence[domain.Job], outcome_of: Callable[[domain.Job], outcomes.Outcome]
) -> dict[tuple[UUID, int], domain.Job]:
    ended = [(job, outcome_of(job)) for job in held]
    decisions = [(job, outcome, outcomes.decide(job, outcome, jitter=outcomes.jitter())) for job, outcome in ended]
    return await finish.apply(tx, decisions)


def _overrun(job: domain.Job) -> outcomes.Outcome:
    if job.state is domain.State.CANCELLING:
        return outcomes.Cancelled(reason=job.cancel_reason or "requested")
    message = f"The attempt took longer than {job.spec.attempt_timeout.total_seconds():g} s."
    return outcomes.Failed(error=domain.JobError(code="attempt_timeout", message=message), retryable=True)
