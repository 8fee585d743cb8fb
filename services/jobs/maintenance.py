"""Tasks of the reconciler and the rescuer: each is one transaction over up to `BATCH` jobs and returns how many it moved."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from functools import partial
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis import postgres, transactions
from services.jobs import counters, domain, due, expired_leases, finish, isolation, outcomes, sql, storage
from services.jobs.operations import Operations
from services.jobs.statements import ORPHANS
from services.jobs.transaction import Transaction

logger = logging.getLogger(__name__)

Task = Callable[[sql.Selection], Awaitable[int]]

BATCH = 100
"""Jobs moved in one transaction."""
MAX_REFUSED = 3
"""Refused jobs after which a pass tries no further ones of their owner: the database may refuse all of them."""
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
        return await self._by_owner(partial(self._rescue, grace), expired_leases.EXPIRED)

    async def _rescue(self, grace: timedelta, selection: sql.Selection) -> int:
        async with self.jobs.transaction() as tx:
            expired = await expired_leases.jobs_with_expired_lease(
                tx.conn, limit=BATCH, grace=grace, selection=selection
            )
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
        return await self._by_owner(self._end_overrun_attempts, due.OVERRUN)

    async def _end_overrun_attempts(self, selection: sql.Selection) -> int:
        async with self.jobs.transaction() as tx:
            overrun = await due.overrun_jobs(tx.conn, limit=BATCH, selection=selection)
            await _end(tx, overrun, _overrun)
        for job in overrun:
            logger.warning("attempt ended after its timeout", extra={"job_id": job.job_id, "worker": job.worker})
        return len(overrun)

    async def promote_due(self) -> int:
        """Make due jobs claimable: scheduled jobs whose time has come, and retries whose backoff is over.

        Scheduled jobs of an owner whose row is locked wait for the next pass. Retries lock no owner, and wait for none.
        """
        retried = await self._by_owner(self._ready_retries, due.RETRIES)
        return max(retried, await self._by_owner(self._promote_scheduled, due.SCHEDULED))

    async def _ready_retries(self, selection: sql.Selection) -> int:
        async with self.jobs.transaction() as tx:
            kinds = await due.ready_retries(tx.conn, limit=BATCH, selection=selection)
            tx.wakeups.update(kinds)
        return len(kinds)

    async def _promote_scheduled(self, selection: sql.Selection) -> int:
        async with self.jobs.transaction() as tx:
            promoted = await due.promote_due(tx.conn, limit=BATCH, selection=selection)
            tx.transitions += [(job, "due") for job in promoted]
        return len(promoted)

    async def fail_overdue(self) -> int:
        """Fail waiting jobs whose deadline has passed; those of an owner whose row is locked wait for the next pass."""
        return await self._by_owner(self._fail_overdue, due.OVERDUE)

    async def _fail_overdue(self, selection: sql.Selection) -> int:
        async with self.jobs.transaction() as tx:
            failed = await due.fail_overdue(tx.conn, limit=BATCH, selection=selection)
            tx.transitions += [(job, "deadline_exceeded") for job in failed]
        return len(failed)

    async def _by_owner(self, task: Task, source: sql.Source) -> int:
        """Run a task for all jobs; if the row of an owner is locked, or a change is refused, run it for each owner."""
        try:
            return await self._run(task, source, sql.ALL_JOBS)
        except Exception as error:
            if isolation.is_unavailable(error) and not isolation.is_contended(error):
                raise
        async with self._single.connect() as conn:
            owners = await source.owners.execute(conn, {"limit": BATCH})
        results = await asyncio.gather(*(self._of_owner(task, source, owner_id) for (owner_id,) in owners))
        if any(is_refused for _, is_refused in results):
            await asyncio.sleep(REFUSED_PAUSE_SECONDS)
        return sum(moved for moved, _ in results)

    async def _of_owner(self, task: Task, source: sql.Source, owner_id: UUID) -> tuple[int, bool]:
        """Run a task for one owner; return how many jobs it moved, and whether the database refuses a change."""
        selection = sql.Selection(owner_id=owner_id)
        async with self._room:
            try:
                return await self._run(task, source, selection), False
            except Exception as error:
                if isolation.is_contended(error):
                    return 0, False
                if isolation.is_unavailable(error):
                    raise
            async with self._single.connect() as conn:
                job_ids = await _find(source, selection, conn)
            return await self._one_by_one(task, source, job_ids)

    async def _one_by_one(self, task: Task, source: sql.Source, job_ids: Sequence[UUID]) -> tuple[int, bool]:
        """Run a task for each of these jobs of one owner, until some are refused; return what `_of_owner` returns."""
        moved, refused = 0, 0
        # In another order each time: refused jobs must not keep the others from their turn.
        for job_id in random.sample(job_ids, len(job_ids)):
            try:
                moved += await self._run(task, source, sql.Selection(job_id=job_id))
            except Exception as error:
                if isolation.is_contended(error):
                    break
                if isolation.is_unavailable(error):
                    raise
                logger.exception("a job cannot be moved", extra={"job_id": job_id})
                refused += 1
                if refused == MAX_REFUSED:
                    break
        return moved, refused > 0

    async def _run(self, task: Task, source: sql.Source, selection: sql.Selection) -> int:
        return await self.jobs.unreadable_rows.retry_after_repair(
            partial(task, selection), partial(_find, source, selection)
        )

    async def cancel_orphans(self) -> int:
        """Cancel unfinished children of parents that failed or were cancelled.

        Those of an owner whose row is locked wait for the next pass.
        """
        return await self._by_owner(self._cancel_orphans, ORPHANS)

    async def _cancel_orphans(self, selection: sql.Selection) -> int:
        async with self.jobs.transaction() as tx:
            orphans = await storage.lock_orphans(tx.conn, limit=BATCH, selection=selection)
            for job in orphans:
                await tx.cancel(job, "parent_ended")
        return len(orphans)

    async def admit_waiting(self) -> int:
        """Admit jobs to free slots of concurrency keys that a transaction has missed; return `BATCH` if more may wait."""
        async with self.jobs.transaction() as tx:
            keys = await storage.keys_with_free_slots(tx.conn, limit=BATCH)
            admitted = await storage.admit_waiting(tx.conn, keys) if keys else []
            tx.wakeups.update(admitted)
        return BATCH if admitted else 0

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


async def _find(source: sql.Source, selection: sql.Selection, conn: AsyncConnection) -> list[UUID]:
    return [job_id for (job_id,) in await source.jobs.execute(conn, {"limit": BATCH, **selection.parameters})]


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
