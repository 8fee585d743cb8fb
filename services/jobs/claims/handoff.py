"""Hands newly ready jobs to a waiting ClaimJobs call inside the transaction that makes them ready, saving one commit.

A single job for an idle queue is even stored as claimed, which saves a statement and a version of its row.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from services.jobs import domain, kinds, storage
from services.jobs.claims import claim, waiters
from services.jobs.domain import Job, State
from services.jobs.transaction import Transaction


async def find_waiter(
    waiting: waiters.Waiters, registry: kinds.Kinds, submits: Sequence[tuple[UUID, domain.Spec]]
) -> waiters.Waiter | None:
    """Return the call that gets these jobs once they are stored.

    Calls for limited kinds are skipped: their claims take locks that a submit must not wait for. They are woken instead.
    """
    waiter = waiting.longest_idle({spec.kind for _, spec in submits if spec.run_at is None})
    return None if waiter is None or await registry.are_limited(waiter.kinds) else waiter


class Handoff:
    """The claim of one transaction for a waiting call."""

    def __init__(self, waiter: waiters.Waiter | None, excluded: Collection[UUID] = ()) -> None:
        """`excluded` are the jobs that the claim leaves out."""
        self._waiter = waiter
        self._excluded = excluded
        self._is_reserved = False
        self._claimed: list[Job] | None = None
        self._is_committed = False

    async def store_as_claimed(
        self, tx: Transaction, job_id: UUID, spec: domain.Spec, *, lease: timedelta
    ) -> Job | None:
        """Store a job for the call, already claimed, by one statement; return it as it was submitted.

        None if a claim must decide what the call gets, or the job needs more than this statement.
        """
        waiter = self._waiter
        is_plain = not (spec.concurrency_key or spec.unique_key or spec.parent_id or spec.run_at)
        if waiter is None or not waiter.is_idle or not is_plain:
            return None
        self._reserve(waiter)
        started = await storage.start_job(tx.conn, job_id, spec, worker=waiter.worker, kinds=waiter.kinds, lease=lease)
        if started is None:
            return None
        job, sequence = started
        self._claimed = [job]
        submitted = replace(
            job, state=State.PENDING, version=1, attempt=0, worker=None, lease_until=None, started_at=None
        )
        tx.transitions += [(submitted, "submitted"), (job, "claimed")]
        tx.next_of_owner = {spec.owner_id: sequence}
        return submitted

    async def claim(self, tx: Transaction, *, lease: timedelta) -> None:
        """Claim for the call what a claim after the commit would get, if jobs became ready and the call is still idle.

        Runs after everything but the events, and only while no owner is locked: the best jobs may belong to other owners. The
        statement leaves out a kind that has become limited meanwhile.
        """
        waiter = self._waiter
        if waiter is None or self._claimed is not None or not tx.wakeups or tx.sequence_of:
            return
        if not self._is_reserved:
            if not waiter.is_idle:
                return
            self._reserve(waiter)
        ready = {job.job_id for job, _ in tx.transitions if job.ready}
        self._claimed = await claim.claim(
            tx,
            worker=waiter.worker,
            kinds=waiter.kinds,
            limited=False,
            limit=waiter.limit,
            lease=lease,
            excluded=self._excluded,
        )
        # Older jobs among the claimed ones have had their wake-up; each new job that remains wakes a call.
        tx.wakeups.subtract(job.spec.kind for job in self._claimed if job.job_id in ready)

    def _reserve(self, waiter: waiters.Waiter) -> None:
        self._is_reserved = True
        waiter.reserve()

    def commit(self) -> None:
        """Note that the transaction, and the claim with it, is committed."""
        self._is_committed = True

    def end(self) -> None:
        """Answer the call."""
        if self._waiter and self._is_reserved:
            self._waiter.deliver(self._claimed if self._is_committed else None)
