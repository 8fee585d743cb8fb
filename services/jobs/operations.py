"""What the jobs service does. Each operation is one transaction: the change, what follows, its events; then doorbells."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg.errors import DeadlockDetected
from sqlalchemy.exc import DataError, IntegrityError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import batching, bus, errors, outbox, paging, postgres
from repruv.jobs.v1 import job_events_pb2
from services.jobs import (
    checkpoints,
    claims,
    domain,
    event_log,
    finishes,
    kinds,
    recurrence,
    schedules,
    serving,
    storage,
    submits,
    telling,
    waiters,
)
from services.jobs.domain import Job, State
from services.jobs.transaction import Transaction

logger = logging.getLogger(__name__)

BATCH = 100
"""So many jobs a loop moves in one transaction."""
FAMILY = 200
"""So many descendants are cancelled together with a job; the reconciler sees to the others."""
GROUPED = 200
"""So many calls that come at once share a transaction."""
EVENTS_PAGE = 500
EVENTS_PAGE_BYTES = 2 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of jobs."""

    jobs: list[Job]
    next_page_token: str


class Operations:
    """The operations on jobs, over one database and one bus."""

    def __init__(self, engine: AsyncEngine, relay: outbox.Relay, nats: bus.Bus, *, lease: timedelta) -> None:
        self._engine = engine
        self._single = postgres.autocommit(engine)
        self._relay = relay
        self._telling = telling.Telling(nats)
        self.lease = lease
        self.kinds = kinds.Kinds(engine)
        self.waiters = waiters.Waiters(self._telling.tell)
        self.moved = asyncio.Event()
        """Set when jobs have moved here: what is due, and when, may be another now."""
        self._submits = batching.Batcher(self._submit_together, max_items=GROUPED)
        self._finishes = batching.Batcher(self._finish_together, max_items=GROUPED)

    @asynccontextmanager
    async def transaction(self, *, waiter: waiters.Waiter | None = None) -> AsyncIterator[Transaction]:
        """Open a transaction; when it is committed, its events are sent and the doorbells rung.

        If `waiter` still rests when jobs have become ready in it, it claims for that one.
        """
        service = serving.Serving(waiter)
        try:
            async with self._engine.begin() as conn:
                tx = Transaction(conn)
                yield tx
                await tx.follow()
                await service.claim(tx, lease=self.lease)
                messages = await tx.record()
            service.committed()
        except IntegrityError as error:
            if postgres.violated_constraint(error) == "jobs_unique_key":
                raise submits.unique_key_taken(None) from error
            raise
        finally:
            service.end()
        for kind, ready in (+tx.rings).items():  # First of all: these claims have the longest way to go.
            self.waiters.ring(kind, ready)
        self._relay.send(messages)
        if tx.moved:
            self.moved.set()
        for job, _ in tx.moved:
            if job.state is State.CANCELLING:
                self._telling.tell("jobs.cancel", job_events_pb2.JobCancelRequested(job_id=str(job.job_id)))
        for job in tx.shown:
            self._telling.show(job)

    async def submit(self, job_id: UUID, spec: domain.Spec) -> tuple[Job, bool]:
        """Store a job; the second value says whether it is new. The same id with another spec raises `AlreadyExists`."""
        return await self._submits((job_id, spec))

    async def submit_many(self, wanted: Sequence[tuple[UUID, domain.Spec]]) -> Sequence[submits.Result]:
        """Store jobs in one transaction; for each what `submit` gives, or the error that it raises."""
        return await self._submit_together(wanted)

    async def get(self, job_id: UUID, *, owner_id: UUID | None) -> Job:
        """Read a job. Raises `NotFound`, also when it belongs to another owner than `owner_id`."""
        async with self._single.connect() as conn:
            return _owned(await storage.get_job(conn, job_id), owner_id)

    async def list_page(
        self,
        *,
        owner_id: UUID | None,
        states: Collection[State],
        kinds: Collection[str],
        parent_id: UUID | None,
        page_size: int,
        page_token: str,
    ) -> Page:
        """Read a page of jobs, newest first."""
        filters = (str(owner_id), sorted(states), sorted(kinds), str(parent_id))
        limit = paging.size(page_size)
        position = paging.position(page_token, filters=filters, length=1)
        before = _position(position) if position else None
        async with self._single.connect() as conn:
            found = await storage.list_jobs(
                conn,
                owner_id=owner_id,
                states=states,
                kinds=kinds,
                parent_id=parent_id,
                before=before,
                limit=limit + 1,
            )
        jobs = found[:limit]
        more = len(found) > limit
        token = paging.token([str(jobs[-1].job_id)], filters=filters) if more else ""
        return Page(jobs=jobs, next_page_token=token)

    async def history(
        self, job_id: UUID, *, owner_id: UUID | None
    ) -> tuple[Sequence[Mapping[str, Any]], Sequence[Mapping[str, Any]]]:
        """Read the attempts and the transitions of a job, oldest first."""
        async with self._single.connect() as conn:
            _owned(await storage.get_job(conn, job_id), owner_id)
            return await storage.list_attempts(conn, job_id), await storage.list_transitions(conn, job_id)

    async def cancel(self, job_id: UUID, *, owner_id: UUID | None, reason: str) -> Job:
        """Cancel a waiting job, or ask the worker of a running one to stop, and its children likewise.

        Raises `job_already_finished` if it is too late.
        """
        async with self.transaction() as tx:
            job = _owned(await storage.lock_job(tx.conn, job_id), owner_id)
            if job.state in {State.CANCELLED, State.CANCELLING}:
                return job
            if job.state in domain.TERMINAL:
                message = f"The job has already ended: it is {job.state}."
                raise errors.FailedPrecondition(message, code="job_already_finished")
            cancelled = await _cancel(tx, job, reason)
            family = [cancelled]
            for parent in family:
                if parent.children.ended < parent.children.total:
                    orphans = await storage.lock_orphans(tx.conn, parent_id=parent.job_id, limit=FAMILY - len(family))
                    family += [await _cancel(tx, child, reason) for child in orphans]
        return cancelled

    async def retry(self, job_id: UUID, *, owner_id: UUID | None) -> Job:
        """Reopen a failed or cancelled job. Raises `job_not_retryable`, `undo_in_progress`, or `unique_key_taken`."""
        async with self.transaction() as tx:
            job = _owned(await storage.lock_job(tx.conn, job_id), owner_id)
            if job.state not in domain.TRANSITIONS[domain.Action.RETRY][0]:
                message = f"Only failed and cancelled jobs can be retried; this one is {job.state}."
                raise errors.FailedPrecondition(message, code="job_not_retryable")
            undo_key, unique_key = domain.undo_key(job_id), job.spec.unique_key or ""
            holders = await storage.holders(tx.conn, {undo_key, unique_key})
            if undo_key in holders:
                message = "What this job has done is still being undone; try again when that has ended."
                details = {"job_id": str(holders[undo_key])}
                raise errors.FailedPrecondition(message, code="undo_in_progress", details=details)
            if unique_key in holders:
                raise submits.unique_key_taken(holders[unique_key])
            reopened = _held_by_lock(await storage.reopen(tx.conn, job))
            tx.moved.append((reopened, "retried"))
        return reopened

    async def list_events(self, owner_id: UUID, *, after: int, limit: int) -> tuple[list[bytes], int]:
        """Read the owner's events after a sequence, in order, and the newest sequence. Raises `cursor_unknown`."""
        (page,) = await self.pages([(owner_id, after)], limit=limit)
        if isinstance(page, errors.Error):
            raise page
        return page.events, page.latest

    async def pages(
        self, cursors: Sequence[tuple[UUID, int]], *, limit: int
    ) -> list[event_log.Page | errors.OutOfRange]:
        """Read up to `limit` events of each owner after a sequence; of the first so many that fit into an answer."""
        async with self._single.connect() as conn:
            return await event_log.pages(conn, cursors, limit=limit, size=EVENTS_PAGE_BYTES)

    async def positions(self, owner_ids: Collection[UUID]) -> dict[UUID, int]:
        """Read the newest sequence of each owner that has events."""
        async with self._single.connect() as conn:
            return await event_log.last_sequences(conn, owner_ids)

    async def declare(
        self, worker: str, declared: Collection[kinds.Declaration], repeated: Sequence[recurrence.Declaration]
    ) -> None:
        """Note what a worker serves, and the schedules that belong to it."""
        async with self.transaction() as tx:
            await kinds.declare(tx.conn, worker, declared)
            await schedules.declare(tx.conn, repeated, datetime.now(UTC))
        self.kinds.forget()

    async def claim(self, *, worker: str, kinds: Collection[str], limit: int) -> list[Job]:
        """Give a worker jobs to run, each under a new attempt and a lease."""
        limited = await self.kinds.are_limited(kinds)
        async with self.transaction() as tx:
            return await claims.claim(tx, worker=worker, kinds=kinds, limited=limited, limit=limit, lease=self.lease)

    async def heartbeat(self, *, worker: str, held: storage.Attempts) -> list[tuple[UUID, int, State]]:
        """Renew a worker's leases; gives those it still holds, with their states."""
        if not held:
            return []
        async with self._single.connect() as conn:
            return await storage.renew_leases(conn, worker=worker, held=held, lease=self.lease)

    async def report_progress(self, job_id: UUID, attempt: int, progress: domain.Progress) -> None:
        """Store how far an attempt has come and show it to whoever watches. Raises `lease_lost`."""
        async with self._single.connect() as conn:
            job = await storage.set_progress(conn, job_id, attempt, progress)
        if not job:
            raise finishes.lease_lost(job_id, attempt)
        self._telling.show(job)

    async def save_checkpoint(self, job_id: UUID, attempt: int, name: str, value: Any) -> None:
        """Keep a value for later attempts. Raises `lease_lost`, or `too_many_checkpoints`."""
        async with self._single.connect() as conn:
            await checkpoints.save(conn, job_id, attempt, name, value)

    async def get_checkpoints(self, job_id: UUID, attempt: int) -> dict[str, Any]:
        """Give what earlier attempts have kept. Raises `lease_lost`."""
        async with self._single.connect() as conn:
            return await checkpoints.get(conn, job_id, attempt)

    async def finish(self, job_id: UUID, attempt: int, outcome: domain.Outcome) -> Job:
        """End an attempt. The same outcome told twice is no error; a stale attempt raises `lease_lost`."""
        return await self._finishes((job_id, attempt, outcome))

    async def finish_many(self, ended: Sequence[finishes.Finish]) -> Sequence[Job | errors.Error]:
        """End attempts together; for each what `finish` gives, or the error that it raises."""
        return await self._finish_together(ended)

    async def look(self) -> storage.Found:
        """Look what there is to do for the reconciler."""
        async with self._single.connect() as conn:
            return await storage.look(conn)

    async def rescue(self, *, grace: timedelta) -> int:
        """Judge the jobs whose lease has expired; gives how many. Nobody within `grace` of the database's start."""
        async with self.transaction() as tx:
            expired = await storage.expired_jobs(tx.conn, limit=BATCH, grace=grace)
            self.waiters.dismiss({job.worker for job in expired if job.worker})
            crashed, now = domain.Crashed(), datetime.now(UTC)
            decided = [(job, crashed, domain.decide(job, crashed, jitter=domain.jitter(), now=now)) for job in expired]
            ended = await finishes.apply(tx, decided)
        for job in expired:
            now_is = ended[job.job_id, job.attempt].state
            logger.warning("lease expired", extra={"job_id": job.job_id, "worker": job.worker, "now": now_is})
        return len(expired)

    async def promote(self) -> int:
        """Make ready what has become due: scheduled jobs, and next attempts; gives how many."""
        async with self.transaction() as tx:
            promoted = await storage.promote_due(tx.conn, limit=BATCH)
            tx.moved += [(job, "due") for job in promoted]
            retried = await storage.ready_retries(tx.conn, limit=BATCH)
            tx.rings.update(retried)
        return max(len(promoted), len(retried))

    async def fail_overdue(self) -> int:
        """Fail waiting jobs whose deadline has passed; gives how many."""
        async with self.transaction() as tx:
            failed = await storage.fail_overdue(tx.conn, limit=BATCH)
            tx.moved += [(job, "deadline_exceeded") for job in failed]
        return len(failed)

    async def cancel_orphans(self) -> int:
        """Cancel living children of parents that failed or were cancelled; gives how many."""
        async with self.transaction() as tx:
            orphans = await storage.lock_orphans(tx.conn, limit=BATCH)
            for job in orphans:
                await _cancel(tx, job, "parent_ended")
        return len(orphans)

    async def free_keys(self) -> int:
        """Give on places of concurrency keys that were forgotten; gives of how many keys."""
        async with self.transaction() as tx:
            free = await storage.free_keys(tx.conn, limit=BATCH)
            if free:
                tx.rings.update(await storage.admit_keys(tx.conn, free))
        return len(free)

    async def ring_again(self) -> None:
        """Wake whoever waits for a job that can be claimed: doorbells may be lost, and limits let some begin by and by."""
        async with self._single.connect() as conn:
            waiting = await storage.waiting_kinds(conn)
        for kind in waiting:
            self.waiters.ring_here(kind)

    async def advance_turns(self) -> None:
        """Let the kinds' turns follow the claims."""
        async with self._single.connect() as conn:
            await storage.advance_turns(conn)

    async def _submit_together(self, wanted: Sequence[tuple[UUID, domain.Spec]]) -> Sequence[submits.Result]:
        try:
            waiter = await serving.who_waits(self.waiters, self.kinds, wanted)
            async with self.transaction(waiter=waiter) as tx:
                return await tx.submit(wanted, is_last=waiter is None)
        except (IntegrityError, DataError):
            if len(wanted) == 1:
                raise
            # One of them is not what the database takes: the others must not suffer for it.
            return [await self._submit_alone(item) for item in wanted]

    async def _submit_alone(self, item: tuple[UUID, domain.Spec]) -> submits.Result:
        try:
            return (await self._submit_together([item]))[0]
        except (IntegrityError, DataError):
            logger.exception("a job was refused by the database", extra={"job_id": item[0]})
            return errors.Internal("Something went wrong on our side.")

    async def _finish_together(self, ended: Sequence[finishes.Finish]) -> Sequence[Job | errors.Error]:
        try:
            return await self._finish_once(ended)
        except OperationalError as error:
            if not isinstance(error.orig, DeadlockDetected):
                raise
            # Families that end crosswise lock each other's parents: one of them gave way, and nothing of it is left.
            return await self._finish_once(ended)

    async def _finish_once(self, ended: Sequence[finishes.Finish]) -> Sequence[Job | errors.Error]:
        async with self.transaction() as tx:
            done = await finishes.complete(tx, ended)
            if not done:
                # No owner is locked yet, so the jobs may be: one transaction does.
                return await finishes.end(tx, ended)
        rest = [one for one in ended if not finishes.is_done(done, one)]
        results: Iterator[Job | errors.Error] = iter(())
        if rest:
            async with self.transaction() as tx:
                results = iter(await finishes.end(tx, rest))
        return [done[one[:2]] if finishes.is_done(done, one) else next(results) for one in ended]


async def _cancel(tx: Transaction, job: Job, reason: str) -> Job:
    """Cancel a locked job that has not ended, or ask its worker to stop."""
    move = storage.request_cancel if job.state is State.RUNNING else storage.cancel_waiting
    cancelled = _held_by_lock(await move(tx.conn, job, reason))
    tx.moved.append((cancelled, "cancel_requested"))
    return cancelled


def _position(position: list[str]) -> UUID:
    try:
        return UUID(position[0])
    except ValueError:
        raise paging.invalid_token() from None


def _owned(job: Job | None, owner_id: UUID | None) -> Job:
    if job is None or (owner_id is not None and job.spec.owner_id != owner_id):
        raise errors.NotFound("There is no such job.", code="job_not_found")
    return job


def _held_by_lock(moved: Job | None) -> Job:
    # The row was locked and its state read in this transaction, so a guarded update that finds nothing is a bug.
    if moved is None:
        raise errors.Internal("A locked job changed its state.")
    return moved
