"""Claiming for one who waits in the very transaction that makes jobs ready: one commit and no way between the two."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from services.jobs import claims, domain, kinds, waiters
from services.jobs.domain import Job
from services.jobs.transaction import Transaction


async def who_waits(
    waiting: waiters.Waiters, known: kinds.Kinds, wanted: Sequence[tuple[UUID, domain.Spec]]
) -> waiters.Waiter | None:
    """Find who is to be served when these jobs are stored.

    Nobody whose claims have limits to look at: that takes locks for which a submit shall not wait. They claim by themselves.
    """
    waiter = waiting.first({spec.kind for _, spec in wanted if spec.run_at is None})
    return None if waiter is None or await known.are_limited(waiter.kinds) else waiter


class Serving:
    """What one transaction does for one who waits."""

    def __init__(self, waiter: waiters.Waiter | None) -> None:
        self._waiter = waiter
        self._is_begun = False
        self._claimed: list[Job] | None = None
        self._is_committed = False

    async def claim(self, tx: Transaction, *, lease: timedelta) -> None:
        """Claim what anybody would get who claims after the commit, if jobs have become ready and the waiter still rests.

        The last but the events, and only while no owner is locked: what is best may be other owners' jobs. A kind that has
        got a limit lately is left out by the statement.
        """
        waiter = self._waiter
        if waiter is None or not waiter.rests or not tx.rings or tx.numbers:
            return
        ready = {job.job_id for job, _ in tx.moved if job.ready}
        self._is_begun = True
        waiter.serve()
        self._claimed = await claims.claim(
            tx, worker=waiter.worker, kinds=waiter.kinds, limited=False, limit=waiter.limit, lease=lease
        )
        # Older jobs that it may have got were rung for already; for each of the new ones that is left somebody is woken.
        tx.rings.subtract(job.spec.kind for job in self._claimed if job.job_id in ready)

    def committed(self) -> None:
        """Say that what was claimed is."""
        self._is_committed = True

    def end(self) -> None:
        """Answer the waiter."""
        if self._waiter and self._is_begun:
            self._waiter.give(self._claimed if self._is_committed else None)
