"""What the jobs service does. Each operation is one transaction: the change, its event, the outbox; then the doorbells."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from chassis import bus, errors, outbox, paging, postgres, streams
from repruv.jobs.v1 import job_events_pb2
from services.jobs import convert, domain, storage
from services.jobs.domain import Job, State

logger = logging.getLogger(__name__)

RESCUE_BATCH = 100
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
        self._bus = nats
        self.lease = lease
        self._told: set[asyncio.Task[None]] = set()

    async def submit(self, job_id: UUID, spec: domain.Spec) -> tuple[Job, bool]:
        """Store a job; the second value says whether it is new. The same id with another spec raises `AlreadyExists`."""
        async with self._transaction() as (conn, told):
            job = await storage.insert_job(conn, job_id, spec)
            if job:
                told += await _record(conn, [(job, "submitted")])
            else:
                known = await storage.get_job(conn, job_id)
        if not job:
            return _same_submit(known, spec), False
        if job.state is State.PENDING:
            self._ring(spec.kind)
        return job, True

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
        page_size: int,
        page_token: str,
    ) -> Page:
        """Read a page of jobs, newest first."""
        filters = (str(owner_id), sorted(states), sorted(kinds))
        limit = paging.size(page_size)
        position = paging.position(page_token, filters=filters, length=2)
        before = _position(position) if position else None
        async with self._single.connect() as conn:
            found = await storage.list_jobs(
                conn, owner_id=owner_id, states=states, kinds=kinds, before=before, limit=limit + 1
            )
        jobs = found[:limit]
        more = len(found) > limit
        token = paging.token([jobs[-1].created_at.isoformat(), str(jobs[-1].job_id)], filters=filters) if more else ""
        return Page(jobs=jobs, next_page_token=token)

    async def history(
        self, job_id: UUID, *, owner_id: UUID | None
    ) -> tuple[Sequence[Mapping[str, Any]], Sequence[Mapping[str, Any]]]:
        """Read the attempts and the transitions of a job, oldest first."""
        async with self._single.connect() as conn:
            _owned(await storage.get_job(conn, job_id), owner_id)
            return await storage.list_attempts(conn, job_id), await storage.list_transitions(conn, job_id)

    async def cancel(self, job_id: UUID, *, owner_id: UUID | None, reason: str) -> Job:
        """Cancel a waiting job, or ask the worker of a running one to stop. Raises `job_already_finished` if too late."""
        async with self._transaction() as (conn, told):
            job = _owned(await storage.get_job(conn, job_id, lock=True), owner_id)
            if job.state in {State.CANCELLED, State.CANCELLING}:
                return job
            if job.state in domain.TERMINAL:
                message = f"The job has already ended: it is {job.state}."
                raise errors.FailedPrecondition(message, code="job_already_finished")
            move = storage.request_cancel if job.state is State.RUNNING else storage.cancel_waiting
            cancelled = _held_by_lock(await move(conn, job, reason))
            told += await _record(conn, [(cancelled, "cancel_requested")])
        if cancelled.state is State.CANCELLING:
            notice = job_events_pb2.JobCancelRequested(job_id=str(job_id))
            self._tell("jobs.cancel", notice.SerializeToString())
        return cancelled

    async def retry(self, job_id: UUID, *, owner_id: UUID | None) -> Job:
        """Reopen a failed or cancelled job. Raises `job_not_retryable`, or `unique_key_taken`."""
        try:
            async with self._transaction() as (conn, told):
                job = _owned(await storage.get_job(conn, job_id, lock=True), owner_id)
                if job.state not in domain.TRANSITIONS[domain.Action.RETRY][0]:
                    message = f"Only failed and cancelled jobs can be retried; this one is {job.state}."
                    raise errors.FailedPrecondition(message, code="job_not_retryable")
                reopened = _held_by_lock(await storage.reopen(conn, job))
                told += await _record(conn, [(reopened, "retried")])
        except IntegrityError as error:
            raise _explain(error) from error
        self._ring(reopened.spec.kind)
        return reopened

    async def list_events(self, owner_id: UUID, *, after: int, limit: int) -> tuple[list[bytes], int]:
        """Read the owner's events after a sequence, in order, and the newest sequence. Raises `cursor_unknown`."""
        async with self._single.connect() as conn:
            latest = (await storage.last_sequences(conn, [owner_id])).get(owner_id, 0)
            if not 0 <= after <= latest:
                raise errors.OutOfRange(f"There is no event {after}; the newest is {latest}.", code="cursor_unknown")
            events = await storage.list_events(conn, owner_id, after=after, limit=limit)
        sizes = itertools.accumulate(len(event) for event in events)
        fitting = sum(size <= EVENTS_PAGE_BYTES for size in sizes)
        return events[: max(fitting, 1)], latest

    async def positions(self, owner_ids: Collection[UUID]) -> dict[UUID, int]:
        """Read the newest sequence of each owner that has events."""
        async with self._single.connect() as conn:
            return await storage.last_sequences(conn, owner_ids)

    async def claim(self, *, worker: str, kinds: Collection[str], limit: int) -> list[Job]:
        """Give a worker jobs to run, each under a new attempt and a lease."""
        async with self._transaction() as (conn, told):
            claimed = await storage.claim_jobs(conn, worker=worker, kinds=kinds, limit=limit, lease=self.lease)
            told += await _record(conn, [(job, "claimed") for job in claimed])
        return claimed

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
            raise _lease_lost(job_id, attempt)
        shown = job_events_pb2.JobProgressed(job=convert.job_to_proto(job))
        self._tell(f"jobs.progress.{job.spec.owner_id}", shown.SerializeToString())

    async def finish(self, job_id: UUID, attempt: int, outcome: domain.Outcome) -> Job:
        """End an attempt. The same outcome told twice is no error; a stale attempt raises `lease_lost`."""
        async with self._transaction() as (conn, told):
            job = await storage.get_job(conn, job_id, lock=True)
            if not job:
                raise errors.NotFound("There is no such job.", code="job_not_found")
            if job.attempt != attempt or job.state not in domain.HELD:
                if await storage.attempt_outcome(conn, job_id, attempt) == domain.outcome_name(outcome):
                    return job
                raise _lease_lost(job_id, attempt)
            decision = domain.decide(job, outcome, jitter=domain.jitter())
            ended = _held_by_lock(await storage.end_attempt(conn, job, decision, outcome))
            told += await _record(conn, [(ended, decision.reason)])
        if ended.state is State.RETRYING and not decision.delay:
            self._ring(ended.spec.kind)
        return ended

    async def rescue(self, *, grace: timedelta) -> int:
        """Judge the jobs whose lease has expired; gives how many. Nobody within `grace` of the database's start."""
        async with self._transaction() as (conn, told):
            expired = await storage.expired_jobs(conn, limit=RESCUE_BATCH, grace=grace)
            judged: list[tuple[Job, str]] = []
            for job in expired:
                decision = domain.decide(job, domain.Crashed(), jitter=domain.jitter())
                ended = _held_by_lock(await storage.end_attempt(conn, job, decision, domain.Crashed()))
                judged.append((ended, decision.reason))
                logger.warning("lease expired", extra={"job_id": job.job_id, "worker": job.worker, "now": ended.state})
            told += await _record(conn, judged)
        for kind in {job.spec.kind for job in expired}:
            self._ring(kind)
        return len(expired)

    async def promote(self, *, due_since: timedelta) -> None:
        """Make due scheduled jobs pending, and ring for every kind of which a job became due lately."""
        async with self._transaction() as (conn, told):
            promoted = await storage.promote_due(conn, limit=RESCUE_BATCH)
            told += await _record(conn, [(job, "due") for job in promoted])
            kinds = await storage.kinds_due_since(conn, due_since)
        for kind in kinds:
            self._ring(kind)

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[tuple[AsyncConnection, list[outbox.Message]]]:
        """Open a transaction; what is put into the list beside it leaves right after the commit."""
        told: list[outbox.Message] = []
        try:
            async with self._engine.begin() as conn:
                yield conn, told
        except IntegrityError as error:
            raise _explain(error) from error
        self._relay.send(told)

    def _ring(self, kind: str) -> None:
        self._tell(f"jobs.wake.{kind}", job_events_pb2.JobSubmitted(kind=kind).SerializeToString())

    def _tell(self, subject: str, payload: bytes) -> None:
        # Nobody waits for a doorbell: it is rung beside the answer.
        task = asyncio.create_task(self._bus.tell(subject, payload))
        self._told.add(task)
        task.add_done_callback(self._told_done)

    def _told_done(self, task: asyncio.Task[None]) -> None:
        self._told.discard(task)
        if not task.cancelled() and (error := task.exception()):
            logger.warning("NATS was not told", extra={"cause": repr(error)[:200]})


async def _record(conn: AsyncConnection, moved: Sequence[tuple[Job, str]]) -> list[outbox.Message]:
    """Append one event a job, with its reason, to its owner's log, and to the outbox; gives what is in there now.

    Once a transaction, with all that moved in it: only so are the owners locked in one order.
    """
    if not moved:
        return []
    next_sequence = await storage.next_sequences(conn, Counter(job.spec.owner_id for job, _ in moved))
    occurred_at = datetime.now(UTC)
    rows, messages = [], []
    for job, reason in moved:
        owner_id = job.spec.owner_id
        sequence = next_sequence[owner_id]
        next_sequence[owner_id] += 1
        event = convert.event_to_proto(job, sequence=sequence, reason=reason, occurred_at=occurred_at)
        payload = event.SerializeToString()
        subject = streams.events_subject("jobs", str(owner_id))
        message = outbox.Message(subject=subject, payload=payload, delay=outbox.HEAD_START)
        messages.append(message)
        rows.append(
            {
                "owner_id": owner_id,
                "sequence": sequence,
                "job_id": job.job_id,
                "state": job.state,
                "attempt": job.attempt,
                "reason": reason,
                "event": payload,
                **outbox.parameters(message),
            }
        )
    await storage.insert_events(conn, rows)
    return messages


def _position(position: list[str]) -> tuple[datetime, UUID]:
    try:
        return datetime.fromisoformat(position[0]), UUID(position[1])
    except ValueError:
        raise paging.refusal() from None


def _owned(job: Job | None, owner_id: UUID | None) -> Job:
    if job is None or (owner_id is not None and job.spec.owner_id != owner_id):
        raise errors.NotFound("There is no such job.", code="job_not_found")
    return job


def _same_submit(known: Job | None, spec: domain.Spec) -> Job:
    if known is None or (known.spec.owner_id, known.spec.kind, known.spec.payload) != (
        spec.owner_id,
        spec.kind,
        spec.payload,
    ):
        raise errors.AlreadyExists("This job_id belongs to another job.", code="job_id_taken", field="job_id")
    return known


def _held_by_lock(moved: Job | None) -> Job:
    # The row was locked and its state read in this transaction, so a guarded update that finds nothing is a bug.
    if moved is None:
        raise errors.Internal("A locked job changed its state.")
    return moved


def _lease_lost(job_id: UUID, attempt: int) -> errors.Aborted:
    return errors.Aborted(f"Attempt {attempt} of job {job_id} no longer holds the lease.", code="lease_lost")


def _explain(error: IntegrityError) -> Exception:
    if postgres.violated_constraint(error) == "jobs_unique_key":
        message = "A job with this unique_key has not ended yet."
        return errors.AlreadyExists(message, code="unique_key_taken", field="unique_key")
    return error
