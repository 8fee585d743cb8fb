"""One transaction on jobs: what moves in it, and everything that follows from a move, is committed together or not at all.

Whoever moves a job appends it to `moved`. At the end ended children are counted in their parents, cancelled work gets the job
that undoes it, places of concurrency keys are given on, and each move becomes an event in its owner's log and in the outbox.

Locks are taken in one order, or not waited for: jobs, then their parents, then concurrency keys, then owners. A statement that
moves jobs may lock their owners itself, and so number their events, where none of the others can follow: a round trip less.
Owners are locked by one statement of a transaction only: a second one could lock them in another order.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from operator import itemgetter
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis import errors, ids, outbox
from repruv.jobs.v1 import job_events_pb2
from services.jobs import convert, domain, event_log, storage, submits
from services.jobs.domain import Job, State

MESSAGE_BYTES = 96 * 1024
"""So much of events goes into one message, unless a single one is larger."""
_LEAVES_KEY = domain.TERMINAL | {State.SCHEDULED}


class Transaction:
    """What happens to jobs in one transaction; `Operations.transaction` opens and closes it."""

    def __init__(self, conn: AsyncConnection) -> None:
        self.conn = conn
        self.moved: list[tuple[Job, str]] = []
        """Jobs as they stand after a transition each, with the reason, in the order in which it happened."""
        self.shown: list[Job] = []
        """Jobs of which only the progress changed."""
        self.rings: Counter[str] = Counter()
        """How many jobs of each kind have become ready."""
        self.numbers: storage.Numbers = {}
        """Of moves whose events have a place in their owners' sequences already."""
        self.sequences: storage.Sequences = {}
        """Where the events of all moves without such a place go, if their owners are locked already."""

    async def submit(
        self, wanted: Sequence[tuple[UUID, domain.Spec]], *, is_last: bool = True
    ) -> list[tuple[Job, bool] | errors.Error]:
        """Store jobs; for each the job and whether it is new, or why it was refused. Not `is_last`: other moves follow."""
        results = await submits.store(self.conn, wanted, self.numbers if is_last and not self.moved else None)
        new = [result[0] for result in results if not isinstance(result, errors.Error) and result[1]]
        self.moved += [(job, "submitted") for job in new]
        return results

    async def follow(self) -> None:
        """Let everything follow that follows from the moves, up to `rings`."""
        await self._undo()
        await self._count_children()
        await self._admit()
        self.rings.update(job.spec.kind for job, _ in self.moved if job.ready)

    async def record(self) -> list[outbox.Message]:
        """Make an event of each move, the last that is done; gives what is to be sent after the commit."""
        if not self.moved:
            return []
        occurred_at = datetime.now(UTC)
        events = []
        by_kind: dict[str, list[bytes]] = defaultdict(list)
        for sequence, job, reason in await self._number():
            event = convert.event_to_proto(job, sequence=sequence, reason=reason, occurred_at=occurred_at)
            payload = event.SerializeToString()
            events.append((job, reason, sequence, payload))
            by_kind[job.spec.kind].append(payload)
        messages = [message for kind, payloads in by_kind.items() for message in _messages(kind, payloads)]
        await event_log.insert_events(self.conn, events, messages)
        return messages

    def moved_by_owner(self) -> Counter[UUID]:
        """Count the moves of each owner's jobs."""
        return Counter(job.spec.owner_id for job, _ in self.moved)

    async def _undo(self) -> None:
        undone = [job for job, _ in self.moved if job.state is State.CANCELLED and job.spec.undoes and job.attempt > 0]
        if undone:
            await self.submit([(ids.uuid7(), domain.undo(job)) for job in undone])

    async def _count_children(self) -> None:
        ended: Counter[UUID] = Counter()
        unsuccessful: Counter[UUID] = Counter()
        for job, reason in self.moved:
            if job.spec.parent_id is None:
                continue
            if job.state in domain.TERMINAL:
                ended[job.spec.parent_id] += 1
                unsuccessful[job.spec.parent_id] += job.state is not State.COMPLETED
            elif reason == "retried":
                ended[job.spec.parent_id] -= 1
                unsuccessful[job.spec.parent_id] -= 1
        if ended:
            self.shown += await storage.count_children(self.conn, ended, unsuccessful)

    async def _admit(self) -> None:
        """Give the places on that have become free, or that a new job may take."""
        keys = {
            (job.spec.kind, job.spec.concurrency_key)
            for job, _ in self.moved
            if job.spec.concurrency_key and (job.state in _LEAVES_KEY or (job.state is State.PENDING and not job.ready))
        }
        if keys:
            self.rings.update(await storage.admit_keys(self.conn, keys))

    async def _number(self) -> list[tuple[int, Job, str]]:
        """Give each move its place in its owner's sequence, in the order of those."""
        numbers = [self.numbers.pop(job.job_id, 0) for job, _ in self.moved]
        missing = Counter(job.spec.owner_id for (job, _), number in zip(self.moved, numbers, strict=True) if not number)
        following = self.sequences or (await event_log.next_sequences(self.conn, missing) if missing else {})
        numbered = []
        for (job, reason), number in zip(self.moved, numbers, strict=True):
            if not number:
                number = following[job.spec.owner_id]
                following[job.spec.owner_id] += 1
            numbered.append((number, job, reason))
        return sorted(numbered, key=itemgetter(0))


def _messages(kind: str, payloads: Iterable[bytes]) -> Iterable[outbox.Message]:
    batch, size = job_events_pb2.JobEvents(), 0
    for payload in payloads:
        if batch.events and size + len(payload) > MESSAGE_BYTES:
            yield _message(kind, batch)
            batch, size = job_events_pb2.JobEvents(), 0
        batch.events.add().MergeFromString(payload)
        size += len(payload)
    yield _message(kind, batch)


def _message(kind: str, batch: job_events_pb2.JobEvents) -> outbox.Message:
    return outbox.Message(subject=f"jobs.events.{kind}", payload=batch.SerializeToString(), delay=outbox.RELAY_DELAY)
