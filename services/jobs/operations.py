"""The operations of the jobs service. Each is one transaction: the change, its effects, its events; then wake-ups."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import batching, bus, errors, outbox, postgres
from repruv.jobs.v1 import job_events_pb2
from services.jobs import (
    backlog,
    broadcast,
    channels,
    checkpoints,
    counters,
    domain,
    event_log,
    finish,
    heartbeats,
    isolation,
    job_lists,
    kinds,
    list_storage,
    outcomes,
    reopen,
    reports,
    schema,
    storage,
    submit,
    unreadable,
)
from services.jobs.claims import claim, fair_ranks, long_poll, refused_jobs, waiters
from services.jobs.claims.handoff import Handoff, find_waiter
from services.jobs.domain import Job, State
from services.jobs.finish import Finish
from services.jobs.operators import change_log
from services.jobs.schedules import cron
from services.jobs.schedules import operations as schedule_operations
from services.jobs.submit import SubmitResult
from services.jobs.transaction import Transaction

MAX_CLAIMED_ALONE = 100
"""Jobs of each kind that one call tries to claim one by one, after the database has refused to claim them together."""
MAX_FAMILY = 200
"""Descendants cancelled together with a job; the reconciler cancels the rest."""
MAX_BATCH = 200
"""Concurrent calls that share a transaction."""
BATCH_WAIT_SECONDS = 0.2
"""A batch that waits longer, for a lock, no longer delays the next one."""
LOCK_SECONDS = 0.6
"""How long a statement waits for a lock: less than a caller waits for a submit."""
IDLE_SECONDS = 2.0
"""How long a transaction of a frozen replica may hold its locks: less than a lease."""
EVENTS_PAGE = 500
EVENTS_PAGE_BYTES = 2 << 20


_NO_INFO = kinds.WorkerInfo()


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    attempts: Sequence[Mapping[str, Any]]
    transitions: Sequence[Mapping[str, Any]]
    checkpoints: Sequence[Mapping[str, Any]]
    is_paused: bool
    """Whether claims of its kind are paused while it waits for one."""
    jobs_ahead: int | None
    """How many ready jobs of its kind are claimed before it, at most `list_storage.MAX_JOBS_AHEAD`; None unless it is ready."""
    lacks_worker: bool
    """Whether it waits while its kind has no worker."""
    awaits_slot: bool
    """Whether it waits for a slot of its concurrency key."""
    is_on_hold: bool
    """Whether it waits for its release."""
    changes: Sequence[change_log.JobChange]
    """Who put it on hold and released it, newest first; none for its owner."""


class Operations:
    """The operations on jobs, over one database and one bus."""

    def __init__(self, engine: AsyncEngine, relay: outbox.Relay, nats: bus.Bus, *, lease: timedelta) -> None:
        self.engine = engine
        self.lease = lease
        self.kinds = kinds.Kinds(engine)
        self._single = postgres.autocommit(engine)
        self._relay = relay
        self._broadcaster = broadcast.Broadcaster(nats)
        self.waiters = waiters.Waiters(self._broadcaster.send)
        self.long_poll = long_poll.LongPoll(self.waiters, self.kinds, claim=self.claim, finish_many=self.finish_many)
        self.backlog = backlog.Backlog(engine)
        self.reports = reports.Reports(engine, self._broadcaster)
        self._heartbeats = heartbeats.Heartbeats(engine, lease=lease)
        self.claimed_ranks = fair_ranks.ClaimedRanks()
        self.refused_jobs = refused_jobs.RefusedJobs()
        self.changed = asyncio.Event()
        """Set when this replica has delayed a job or given it a deadline: the next due time may be sooner."""
        self.unreadable_rows = unreadable.Unreadable(engine, self.transaction)
        self.lists = job_lists.JobLists(engine, self.unreadable_rows)
        self._submits = batching.Batcher(self._submit_batch, max_items=MAX_BATCH, max_wait=BATCH_WAIT_SECONDS)
        self._finishes = batching.Batcher(self.finish_many, max_items=MAX_BATCH, max_wait=BATCH_WAIT_SECONDS)

    @asynccontextmanager
    async def transaction(self, handoff: Handoff | None = None) -> AsyncIterator[Transaction]:
        """Open a transaction; after its commit, publish its events and send its wake-ups.

        If jobs have become ready in it, `handoff` claims them for its call.
        """
        handoff = handoff or Handoff(None)
        try:
            async with outbox.transaction(self.engine, schema.outbox, self._relay) as outgoing:
                tx = Transaction(outgoing.conn)
                yield tx
                await tx.apply_effects()
                await handoff.claim(tx, lease=self.lease)
                outgoing.publish(*await tx.write_events())
            handoff.commit()
        except IntegrityError as error:
            if postgres.violated_constraint(error) == "jobs_unique_key":
                raise submit.unique_key_taken(None) from error
            raise
        finally:
            handoff.end()
        for kind, ready in (+tx.wakeups).items():
            self.waiters.wake(kind, ready)
        if tx.broadcasts:
            self._broadcaster.send_all(tx.broadcasts)
        if any(job.state in domain.DELAYED or job.deadline for job, _ in tx.transitions):
            self.changed.set()
        for job, _ in tx.transitions:
            counters.count_transition(job)
            if job.state is State.RUNNING:
                self.claimed_ranks.add(job)
            elif job.state is State.CANCELLING:
                self._broadcaster.send(
                    channels.CANCEL.address, job_events_pb2.JobCancelRequested(job_id=str(job.job_id))
                )
        for job in tx.progressed:
            self._broadcaster.progress(job)

    async def submit(self, job_id: UUID, spec: domain.Spec) -> tuple[Job, bool]:
        """Store a job; return it and whether it is new. Raises `AlreadyExists` for a known id with another spec, `queue_full`."""
        if refusal := self.backlog.refusal(spec):
            result = await self._submit_known((job_id, spec), refusal)
            if isinstance(result, errors.Error):
                raise result
            return result
        return await self._submits((job_id, spec))

    async def submit_many(self, submits: Sequence[tuple[UUID, domain.Spec]]) -> Sequence[SubmitResult]:
        """Store jobs in one transaction; return for each the result of `submit`, or its error."""
        refusals = {position: self.backlog.refusal(spec) for position, (_, spec) in enumerate(submits)}
        if not any(refusals.values()):
            return await self._submit_batch(submits)
        results: dict[int, SubmitResult] = {}
        admitted = [position for position in refusals if not refusals[position]]
        if admitted:
            stored = await self._submit_batch([submits[position] for position in admitted])
            results |= zip(admitted, stored, strict=True)
        for position, refusal in refusals.items():
            if refusal:
                results[position] = await self._submit_known(submits[position], refusal)
        return [results[position] for position in refusals]

    async def _submit_known(self, item: tuple[UUID, domain.Spec], refusal: errors.Error) -> SubmitResult:
        """Submit again a job that is stored already; refuse another one."""
        is_known = item[0] in await self.get_many([item[0]])
        return (await self._submit_batch([item]))[0] if is_known else refusal

    async def get(self, job_id: UUID, *, owner_id: UUID | None) -> Job:
        """Return a job. Raises `NotFound`, also for a job of another owner than `owner_id`."""
        return domain.owned((await self.get_many([job_id])).get(job_id), owner_id)

    async def get_many(self, job_ids: Collection[UUID]) -> dict[UUID, Job]:
        return await self.unreadable_rows.retry_after_repair(
            partial(self._get_many, job_ids), unreadable.candidates_from_ids(job_ids)
        )

    async def _get_many(self, job_ids: Collection[UUID]) -> dict[UUID, Job]:
        async with self._single.connect() as conn:
            return await storage.get_jobs(conn, job_ids)

    async def history(self, job_id: UUID, *, owner_id: UUID | None) -> History:
        """Return the history of a job: its newest rows, oldest first. Raises `NotFound`."""
        async with self._single.connect() as conn:
            job = domain.owned(await storage.get_job(conn, job_id), owner_id)
            attempts = await list_storage.list_attempts(conn, job_id)
            transitions = await list_storage.list_transitions(conn, job_id)
            saved = await checkpoints.history(conn, job_id) if attempts else []
            changes = await change_log.JOBS.list_newest(conn, job_id) if owner_id is None else []
            ahead = await list_storage.count_ahead(conn, job) if job.ready else None
        is_unclaimed, kind = job.state in domain.UNCLAIMED, job.spec.kind
        return History(
            attempts=attempts,
            transitions=transitions,
            checkpoints=saved,
            is_paused=is_unclaimed and await self.kinds.are_paused([kind]),
            jobs_ahead=ahead,
            lacks_worker=is_unclaimed and not (await self.kinds.get([kind]))[kind].has_worker,
            awaits_slot=job.state is State.PENDING and not job.ready,
            is_on_hold=job.is_on_hold,
            changes=changes,
        )

    async def cancel(self, job_id: UUID, *, owner_id: UUID | None, reason: str) -> Job:
        """Cancel a waiting job, or ask the worker of a running one to stop; the same for its children.

        Raises `job_already_finished`.
        """
        async with self.transaction() as tx:
            job = domain.owned(await storage.lock_job(tx.conn, job_id), owner_id)
            if job.state in {State.CANCELLED, State.CANCELLING}:
                return job
            if job.state in domain.FINISHED:
                message = f"The job has already ended: it is {job.state}."
                raise errors.FailedPrecondition(message, code="job_already_finished")
            cancelled = await tx.cancel(job, reason)
            family = [cancelled]
            for parent in family:
                if parent.children.ended < parent.children.total:
                    orphans = await storage.lock_orphans(
                        tx.conn, parent_id=parent.job_id, limit=MAX_FAMILY - len(family)
                    )
                    family += [await tx.cancel(child, reason) for child in orphans]
        return cancelled

    async def retry(self, job_id: UUID, *, owner_id: UUID | None) -> Job:
        """Reopen a failed or cancelled job, with the failed parts of a group and the groups that it is a part of.

        Raises `job_not_retryable`, `undo_in_progress`, `unique_key_taken`, `parent_ended`, and `admin_required` for a change of
        many jobs by its owner.
        """
        async with self.transaction() as tx:
            job = domain.owned(await storage.lock_job(tx.conn, job_id), owner_id)
            if job.spec.kind == domain.BULK and owner_id is not None:
                raise errors.PermissionDenied("Only admins can do that.", code="admin_required")
            return await reopen.reopen(tx, job)

    async def list_events(self, owner_id: UUID, *, after: int, limit: int) -> tuple[list[bytes], int]:
        """Return the owner's events after a sequence, in order, and the newest sequence. Raises `cursor_unknown`."""
        (page,) = await self.pages([(owner_id, after)], limit=limit)
        if isinstance(page, errors.Error):
            raise page
        return page.events, page.latest

    async def pages(
        self, cursors: Sequence[tuple[UUID, int]], *, limit: int
    ) -> list[event_log.Page | errors.OutOfRange]:
        """Return up to `limit` events of each owner after a sequence, for the first owners that fit into a response."""
        async with self._single.connect() as conn:
            return await event_log.pages(conn, cursors, limit=limit, size=EVENTS_PAGE_BYTES)

    async def last_sequences(self, owner_ids: Collection[UUID]) -> dict[UUID, int]:
        """Return the newest sequence of each owner that has events."""
        async with self._single.connect() as conn:
            return await event_log.last_sequences(conn, owner_ids)

    async def register(
        self,
        worker: str,
        registrations: Collection[kinds.Registration],
        schedules: Sequence[cron.Registration],
        info: kinds.WorkerInfo = _NO_INFO,
    ) -> None:
        """Register the kinds that a worker handles, and its schedules, except those of newer versions of its program."""
        async with self.transaction() as tx:
            of_newer = await kinds.register(tx.conn, worker, registrations, info)
            await schedule_operations.register(tx.conn, schedules, of_newer)
        self.kinds.forget()

    async def claim(self, *, worker: str, kinds: Collection[str], limit: int) -> list[Job]:
        """Claim ready jobs for a worker, each under a new attempt and a lease."""
        excluded = self.refused_jobs.excluded()
        try:
            return await self.unreadable_rows.retry_after_repair(
                partial(self._claim, worker, kinds, limit, excluded),
                unreadable.claim_candidates(kinds, limit, excluded),
            )
        except Exception as error:
            if isolation.is_unavailable(error):
                raise
            async with self._single.connect() as conn:
                job_ids = await unreadable.claim_candidates(kinds, MAX_CLAIMED_ALONE, excluded)(conn)
        return await self._claim_one_by_one(worker, kinds, limit, job_ids)

    async def _claim(self, worker: str, kinds: Collection[str], limit: int, excluded: Collection[UUID]) -> list[Job]:
        limited = await self.kinds.are_limited(kinds)
        async with self.transaction() as tx:
            return await claim.claim(
                tx, worker=worker, kinds=kinds, limited=limited, limit=limit, lease=self.lease, excluded=excluded
            )

    async def _claim_one_by_one(
        self, worker: str, kinds: Collection[str], limit: int, job_ids: Collection[UUID]
    ) -> list[Job]:
        """Claim up to `limit` of these jobs, each alone, and exclude those that the database refuses from later claims."""
        claimed: list[Job] = []
        for job_id in job_ids:
            if len(claimed) == limit:
                break
            others = {*job_ids, *self.refused_jobs.excluded()} - {job_id}
            try:
                claimed += await self._claim(worker, kinds, 1, others)
            except Exception as error:
                if isolation.is_unavailable(error):
                    if claimed:
                        break
                    raise
                self.refused_jobs.add(job_id)
        return claimed

    async def heartbeat(
        self, *, worker: str, held: storage.Attempts, kind_prefix: str = ""
    ) -> list[tuple[UUID, int, State]]:
        """Renew a worker's leases; return the attempts that it still holds, with the states of their jobs.

        The caller holds no lease of a kind that does not begin with `kind_prefix`.
        """
        return await self._heartbeats(worker, held, kind_prefix) if held else []

    async def finish(self, job_id: UUID, attempt: int, outcome: outcomes.Outcome) -> Job:
        """End an attempt. Repeating an outcome is no error. Raises `lease_lost` for a superseded attempt, `kind_not_owned`."""
        return await self._finishes((job_id, attempt, outcome))

    async def _submit_batch(self, submits: Sequence[tuple[UUID, domain.Spec]]) -> Sequence[SubmitResult]:
        return await isolation.run(self._submit_with_handoff, submits, _owners_of_submits)

    async def _submit_with_handoff(self, submits: Sequence[tuple[UUID, domain.Spec]]) -> Sequence[SubmitResult]:
        waiter = await find_waiter(self.waiters, self.kinds, submits)
        try:
            return await self._submit_once(submits, waiter)
        except Exception as error:
            if waiter is None or isolation.is_unavailable(error):
                raise
            # The claim for the waiting call may have met a job that is unreadable or refused; the call's own claim leaves it out.
            return await self._submit_once(submits, None)

    async def _submit_once(
        self, submits: Sequence[tuple[UUID, domain.Spec]], waiter: waiters.Waiter | None
    ) -> Sequence[SubmitResult]:
        handoff = Handoff(waiter, self.refused_jobs.excluded())
        async with self.transaction(handoff) as tx:
            if len(submits) == 1 and (job := await handoff.store_as_claimed(tx, *submits[0], lease=self.lease)):
                return [(job, True)]
            return await tx.submit(submits, is_last=waiter is None)

    async def finish_many(self, finishes: Sequence[Finish]) -> Sequence[Job | errors.Error]:
        """End attempts together; return for each the result of `finish`, or its error."""
        results = await isolation.run(self._finish_with_repair, finishes, self._owners_of_finishes)
        if lost := [item[:2] for item, result in zip(finishes, results, strict=True) if finish.is_lease_lost(result)]:
            async with self._single.connect() as conn:
                await storage.forgive_crashes(conn, lost=lost)
        return results

    async def _finish_with_repair(self, finishes: Sequence[Finish]) -> Sequence[Job | errors.Error]:
        job_ids = unreadable.candidates_from_ids({job_id for job_id, _, _ in finishes})
        return await self.unreadable_rows.retry_after_repair(partial(self._finish_once, finishes), job_ids)

    async def _owners_of_finishes(self, finishes: Sequence[Finish]) -> Sequence[UUID | None]:
        async with self._single.connect() as conn:
            owners = await storage.owners_of(conn, {job_id for job_id, _, _ in finishes})
        return [owners.get(job_id) for job_id, _, _ in finishes]

    async def _finish_once(self, finishes: Sequence[Finish]) -> Sequence[Job | errors.Error]:
        async with self.transaction() as tx:
            completed = await finish.complete(tx, finishes)
            if not completed:
                # No owner is locked yet, so jobs may still be locked: one transaction suffices.
                return await finish.end(tx, finishes)
        rest = [item for item in finishes if not finish.is_completed(completed, item)]
        results: Iterator[Job | errors.Error] = iter(())
        if rest:
            async with self.transaction() as tx:
                results = iter(await finish.end(tx, rest))
        return [completed[item[:2]] if finish.is_completed(completed, item) else next(results) for item in finishes]


async def _owners_of_submits(submits: Sequence[tuple[UUID, domain.Spec]]) -> Sequence[UUID | None]:
    return [spec.owner_id for _, spec in submits]
