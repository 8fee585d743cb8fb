"""One transaction on jobs: transitions, and everything that follows from them, are committed together or not at all.

Code that moves a job appends it to `transitions`. At the end, finished children are counted in their parents, cancelled work
gets its undo job, free slots of concurrency keys admit waiting jobs, and each transition becomes an event in its owner's log.

All events are broadcast by owner after the commit: they refresh live views, and a view that misses one reads it from the log.
Those that are not routine (`domain.is_routine`) are also published through the outbox, because another service may have to act on
them; so are the ends of long jobs that notify their owner, on a subject of their own (`LONG_ENDED`).

Locks are taken in one order, or skipped when held: jobs, parents, concurrency keys, owners. A statement that moves jobs may also
lock their owners, and so number their events, where no other lock can follow: this saves a round trip. Only one statement of a
transaction locks owners: a second one could lock them in another order. The system has no row of `owners` and no log: its
events have the sequence 0 here, and the database numbers them when they are inserted.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from operator import itemgetter
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis import errors, ids, outbox, tracing
from repruv.jobs.v1 import job_events_pb2
from services.jobs import broadcast, channels, convert, domain, event_log, storage, submit
from services.jobs.domain import Job, State
from services.jobs.submit import SubmitResult

LONG_ENDED = "notifications.long_ended"
"""The subject, after `jobs.events.`, of the ends of long notifying jobs. No kind has this prefix: it is no service."""
MESSAGE_BYTES = 96 * 1024
"""Bytes of events in one message; a larger single event gets its own message."""
_FREES_SLOT = domain.FINISHED | {State.SCHEDULED}


class Transaction:
    """The jobs moved in one transaction; `Operations.transaction` opens and commits it."""

    def __init__(self, conn: AsyncConnection) -> None:
        self.conn = conn
        self.transitions: list[tuple[Job, str]] = []
        """Jobs after each transition, with its reason, in the order in which they happened."""
        self.progressed: list[Job] = []
        """Jobs whose progress alone has changed."""
        self.broadcasts: list[broadcast.Broadcast] = []
        """The events by owner, to broadcast after the commit."""
        self.wakeups: Counter[str] = Counter()
        """The number of jobs by kind that have become ready."""
        self.sequence_of: storage.SequenceByJob = {}
        """Sequences of events that the statement of the transition has already numbered."""
        self.next_of_owner: storage.NextByOwner = {}
        """The next sequences for all other events, if the owners are already locked."""

    async def submit(self, submits: Sequence[tuple[UUID, domain.Spec]], *, is_last: bool = True) -> list[SubmitResult]:
        """Store jobs; return for each the job and whether it is new, or the error. Without `is_last` other transitions follow."""
        results = await submit.store(self.conn, submits, self.sequence_of if is_last and not self.transitions else None)
        new = [result[0] for result in results if not isinstance(result, errors.Error) and result[1]]
        self.transitions += [(job, "submitted") for job in new]
        return results

    async def cancel(self, job: Job, reason: str) -> Job:
        """Cancel a locked job that has not ended, or ask the worker of a running one to stop."""
        move = storage.request_cancel if job.state is State.RUNNING else storage.cancel_waiting
        cancelled = require_moved(await move(self.conn, job, reason))
        self.transitions.append((cancelled, "cancel_requested"))
        return cancelled

    async def apply_effects(self) -> None:
        """Apply what follows from the transitions, and collect `wakeups`."""
        await self._undo()
        await self._count_children()
        await self._admit_waiting()
        self.wakeups.update(job.spec.kind for job, _ in self.transitions if job.ready)

    async def write_events(self) -> list[outbox.Message]:
        """Write an event for each transition, the last step; collect `broadcasts`, and return the messages to publish.

        Without messages, the statement that inserts the events commits.
        """
        if not self.transitions:
            return []
        occurred_at = datetime.now(UTC)
        events = []
        durable: dict[str, list[bytes]] = defaultdict(list)
        live: dict[UUID, list[bytes]] = defaultdict(list)
        positions: dict[str | UUID, str] = {}
        for sequence, job, reason in await self._number():
            event = convert.event_to_proto(job, sequence=sequence, reason=reason, occurred_at=occurred_at)
            payload = event.SerializeToString()
            events.append((job, reason, sequence, payload))
            live[job.spec.owner_id].append(payload)
            groups = _durable_subjects(job)
            for group in groups:
                durable[group].append(payload)
            if job.spec.traceparent:
                # A message with events of several traces is a part of the first one.
                keys: list[str | UUID] = [job.spec.owner_id, *groups]
                for key in keys:
                    positions.setdefault(key, tracing.position_in_trace_of(job.spec.traceparent))
        # Nothing follows: without messages there is no row for the outbox.
        await event_log.insert_events(self.conn, events, commit=not durable)
        self.broadcasts = [
            (channels.LIVE_EVENTS.subject(owner_id), batch, positions.get(owner_id, ""))
            for owner_id, payloads in live.items()
            for batch in _batches(payloads)
        ]
        return [
            outbox.Message(subject=channels.EVENTS.subject(about), payload=batch, traceparent=positions.get(about, ""))
            for about, payloads in durable.items()
            for batch in _batches(payloads)
        ]

    def transitions_by_owner(self) -> Counter[UUID]:
        """Count the transitions of each owner's jobs."""
        return Counter(job.spec.owner_id for job, _ in self.transitions)

    async def _undo(self) -> None:
        cancelled = [
            job for job, _ in self.transitions if job.state is State.CANCELLED and job.spec.has_undo and job.attempt > 0
        ]
        if cancelled:
            large = await storage.get_jobs(self.conn, [job.job_id for job in cancelled if not job.has_payload])
            undos = [(ids.uuid7(), domain.undo(large.get(job.job_id, job))) for job in cancelled]
            for result in await self.submit(undos):
                if isinstance(result, errors.Error):
                    # No job is cancelled without its undo: the transaction is rolled back.
                    raise result

    async def _count_children(self) -> None:
        ended_children: Counter[UUID] = Counter()
        unsuccessful: Counter[UUID] = Counter()
        # A parent that was reopened here has counted its children.
        reopened = {job.job_id for job, reason in self.transitions if reason == "retried"}
        for job, reason in self.transitions:
            if job.spec.parent_id is None or job.spec.parent_id in reopened:
                continue
            if job.state in domain.FINISHED:
                ended_children[job.spec.parent_id] += 1
                unsuccessful[job.spec.parent_id] += job.state is not State.COMPLETED
            elif reason == "retried":
                ended_children[job.spec.parent_id] -= 1
                unsuccessful[job.spec.parent_id] -= 1
        if ended_children:
            self.progressed += await storage.count_children(self.conn, ended_children, unsuccessful)

    async def _admit_waiting(self) -> None:
        """Admit jobs to slots of concurrency keys that have become free, or that a new job may take."""
        keys: set[tuple[str, str]] = set()
        for job, _ in self.transitions:
            if job.spec.concurrency_key and (
                job.state in _FREES_SLOT or (job.state is State.PENDING and not job.ready)
            ):
                keys |= domain.slots(job)
        if keys:
            self.wakeups.update(await storage.admit_waiting(self.conn, keys))

    async def _number(self) -> list[tuple[int, Job, str]]:
        """Return each transition with its sequence, in the order of the sequences; first those of the system, with 0."""
        sequences = [self.sequence_of.pop(job.job_id, 0) for job, _ in self.transitions]
        missing = Counter(
            job.spec.owner_id
            for (job, _), sequence in zip(self.transitions, sequences, strict=True)
            if not sequence and job.spec.owner_id != domain.SYSTEM
        )
        next_sequences = self.next_of_owner or (await event_log.next_sequences(self.conn, missing) if missing else {})
        numbered = []
        for (job, reason), sequence in zip(self.transitions, sequences, strict=True):
            if not sequence and job.spec.owner_id != domain.SYSTEM:
                sequence = next_sequences[job.spec.owner_id]
                next_sequences[job.spec.owner_id] += 1
            numbered.append((sequence, job, reason))
        return sorted(numbered, key=itemgetter(0))


def require_moved(job: Job | None) -> Job:
    """Return the job that a guarded update of a locked row has moved."""
    # The row is locked and its state was read in this transaction: an update without a row is a bug.
    if job is None:
        raise errors.Internal("A locked job changed its state.")
    return job


def _durable_subjects(job: Job) -> list[str]:
    """Return the subjects, after `jobs.events.`, on which a transition is published."""
    kind = [] if domain.is_routine(job) else [job.spec.kind]
    return [*kind, LONG_ENDED] if domain.is_long_ended(job) else kind


def _batches(events: Iterable[bytes]) -> Iterator[bytes]:
    """Join serialized events to JobEvents messages of up to `MESSAGE_BYTES`."""
    batch, size = job_events_pb2.JobEvents(), 0
    for event in events:
        if batch.events and size + len(event) > MESSAGE_BYTES:
            yield batch.SerializeToString()
            batch, size = job_events_pb2.JobEvents(), 0
        batch.events.add().MergeFromString(event)
        size += len(event)
    yield batch.SerializeToString()
