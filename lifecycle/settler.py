"""Settles resources whose job has ended, or whose wait for the user has: on job updates, on reads, and in a sweep."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Iterator
from datetime import timedelta
from typing import Generic

from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import errors, outbox, postgres, transactions
from lifecycle import rows, updates
from lifecycle.declaration import Lifecycle
from lifecycle.machine import FINISHED, ActionT, JobUpdate
from lifecycle.rows import ResourceT
from lifecycle.submitter import LifecycleSubmitter
from repruv.jobs.v1 import job_pb2
from worker import JobsClient

logger = logging.getLogger(__name__)

SWEEP_SECONDS = 15.0
"""Pause between sweeps while NATS is connected."""
STALE_AFTER = timedelta(seconds=10)
BATCH = 20
ROUNDS = 75
"""Batches of one sweep: it reads 1,500 jobs at most, so the backlog of an outage is settled in minutes."""
SUBMITS = 60
"""Submits of one sweep. The outbox submits the jobs of users; the sweep submits those that are missing, such as imported ones. So
few at a time do not delay those of the outbox."""


class Settler(Generic[ResourceT, ActionT]):
    """Settles the resources of one lifecycle. Runs in every replica; SKIP LOCKED shares the sweep between them."""

    def __init__(
        self,
        lifecycle: Lifecycle[ResourceT, ActionT],
        *,
        engine: AsyncEngine,
        relay: outbox.Relay,
        jobs: JobsClient,
        submitter: LifecycleSubmitter,
    ) -> None:
        self.lifecycle = lifecycle
        self._rows = lifecycle.rows
        self._machine = lifecycle.machine
        self._engine = engine
        self._single = postgres.autocommit(engine)
        self._relay = relay
        self._jobs = jobs
        self._submitter = submitter

    async def settle(self, update: JobUpdate) -> ResourceT:
        """Apply a job update; return the resource after it."""
        async with self._single.connect() as conn:
            resource = await self._rows.get(conn, update.key)
        return await self._apply(resource, update)

    async def repair(self, resource: ResourceT) -> tuple[ResourceT, job_pb2.Job | None]:
        """Read repair: settle the resource by its job, or by the end of its wait; return the resource and the job.

        The resource is unchanged, without a job, if it needs no repair, and while the jobs service does not answer.
        """
        if not self._machine.may_need_repair(resource):
            return resource, None
        if resource.job_id is None:
            return await self._end_if_overdue(resource), None
        try:
            job = await self._jobs.get(str(resource.job_id))
        except errors.Error as error:
            logger.warning("the job could not be read", extra={"job_id": resource.job_id, "cause": error.code})
            return resource, None
        # None: accepted, but not submitted yet. The outbox submits it.
        update = updates.from_job(self._rows, job) if job else None
        if update and self._machine.settle(resource, update):
            resource = await self._apply(resource, update)
        return resource, job

    async def sweep(self, *, age: timedelta = STALE_AFTER) -> int:
        """Settle transitions that last longer than `age`, up to `ROUNDS` batches; return how many were taken, checked or not.

        It ends with a batch of which none could be checked: the jobs service is down.
        """
        taken, submits = 0, itertools.count()
        for _ in range(ROUNDS):
            count, failures = await self._sweep_batch(age, submits)
            taken += count
            if count < BATCH or failures == count:
                break
        return taken

    async def _sweep_batch(self, age: timedelta, submits: Iterator[int]) -> tuple[int, int]:
        """Check one batch; return its size, and how many of it could not be checked. `submits` counts those of the sweep."""
        async with transactions.begin(self._single) as conn:
            stale = await self._rows.take_stale(conn, age=age, limit=BATCH)
        results = await asyncio.gather(*(self._check(resource, submits) for resource in stale), return_exceptions=True)
        for resource, result in zip(stale, results, strict=True):
            if isinstance(result, errors.Error):
                logger.warning("transition not checked", extra={"job_id": resource.job_id, "cause": result.code})
            elif isinstance(result, BaseException):
                logger.error("transition not checked", exc_info=result, extra={"job_id": resource.job_id})
        return len(stale), sum(isinstance(result, BaseException) for result in results)

    async def end_overdue(self, *, limit: int) -> int:
        """End what has waited for its user for longer than `Wait.limit`; return how many were taken, ended or not.

        One that fails does not stop the others.
        """
        if (wait := self._machine.wait) is None:
            return 0
        async with transactions.begin(self._single) as conn:
            overdue = await self._rows.take_unchanged(conn, wait.action, unchanged_for=wait.limit, limit=limit)
        for resource in overdue:
            try:
                await self._end_wait(resource)
            except Exception:
                logger.exception("wait not ended", extra={"generation": resource.generation})
        return len(overdue)

    async def _check(self, resource: ResourceT, submits: Iterator[int]) -> None:
        job = await self._jobs.get(str(resource.job_id))
        if job is None:
            # Also while the outbox still holds the submit: it is idempotent.
            if next(submits) < SUBMITS:
                await self._submitter.submit(self.lifecycle.submit(resource))
        elif update := updates.from_job(self._rows, job):
            await self._apply(resource, update)

    async def _apply(self, resource: ResourceT, update: JobUpdate) -> ResourceT:
        if not self._machine.has_effect(resource, update):
            return resource
        async with outbox.transaction(self._engine, self.lifecycle.outbox_table, self._relay) as tx:
            resource = await self._rows.get(tx.conn, update.key, lock=True)
            if not self._machine.has_effect(resource, update):
                return resource
            if (ending := self._machine.settle(resource, update)) is None:
                await self._rows.record_job_version(tx.conn, update.key, update.version)
                return resource
            columns = {"job_version": update.version}
            if update.phase in FINISHED:
                columns["attempt"] = update.attempt
            settled = await self.lifecycle.move_locked(tx, resource, ending.action, error=ending.error, columns=columns)
        logger.info(
            "settled", extra={"job_id": update.job_id, "action": ending.action.value, "state": settled.state.value}
        )
        return settled

    async def _end_if_overdue(self, resource: ResourceT) -> ResourceT:
        if not (wait := self._machine.wait) or not self._machine.is_waiting(resource) or not resource.changed_at:
            return resource
        async with self._single.connect() as conn:
            is_overdue = resource.changed_at <= await rows.now(conn) - wait.limit
        return await self._end_wait(resource) if is_overdue else resource

    async def _end_wait(self, resource: ResourceT) -> ResourceT:
        wait = self._machine.wait
        async with outbox.transaction(self._engine, self.lifecycle.outbox_table, self._relay) as tx:
            current = await self._rows.get(tx.conn, resource.key, lock=True)
            if wait is None or current.generation != resource.generation or not self._machine.is_waiting(current):
                return current
            return await self.lifecycle.move_locked(tx, current, wait.action)
