"""Calls that wait for jobs to claim, and who of them is woken when there are some.

A job that can be claimed wakes one call of this replica; the other replicas hear only of jobs for which nobody was woken here.
Nothing depends on it: whatever was lost, the reconciler wakes all who wait, each second as long as there are jobs.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from uuid import uuid4

from chassis import bus, run
from repruv.jobs.v1 import job_events_pb2
from services.jobs.domain import Job

MAX_WAITERS = 1_000
ANY = 1_000_000
"""How many jobs there may be where nobody has counted: everybody is woken."""
_EXHAUSTED_KINDS = 10_000


class Waiter:
    """A call that waits for jobs of some kinds."""

    def __init__(self, waiters: Waiters, kinds: Collection[str], limit: int, worker: str) -> None:
        self.kinds = kinds
        self.worker = worker
        self.limit = limit
        self.served: asyncio.Future[list[Job]] | None = None
        """Set while somebody else's transaction claims for it: what it gets, nothing if that is not committed."""
        self.promised: Counter[str] = Counter()
        """Jobs that it was woken for and has not claimed, by kind: nobody else was woken for them."""
        self._waiters = waiters
        self._woken = asyncio.Event()
        self._rests = False
        self._dismissed = False
        self._missed: set[str] = set()
        # Where a claim has just found that nothing is left, the next one would find the same.
        self._claims_now = not waiters.exhausted.issuperset(kinds)

    async def turn(self, ends_at: float) -> bool:
        """Wait until it is time to claim: at once, when woken, at last at `ends_at` by the loop's clock. False: claim no more.

        When it is `served` meanwhile, it is time to wait for that instead.
        """
        if not self._claims_now and not self._waiters.stopped:
            self._rests = True
            try:
                await run.wait(self._woken, ends_at - asyncio.get_running_loop().time())
            finally:
                self._rests = False
        self._woken.clear()
        if self.served:
            return True
        self._missed.clear()
        return not (self._waiters.stopped or self._dismissed)

    def claimed(self, kinds: Collection[str], *, limited: bool) -> None:
        """Say of which kinds the jobs are that it got, and whether limits may have kept others back."""
        self.served = None
        is_full = len(kinds) >= self.limit
        # With room for more it would have got what it was woken for, unless somebody else has.
        self.promised = self.promised - Counter(kinds) if is_full else Counter()
        if not is_full and not limited:
            self._waiters.exhaust(kind for kind in self.kinds if kind not in self._missed)
        self._claims_now = bool(self._missed)

    def wake(self, kind: str, jobs: int) -> int:
        """Wake it for so many jobs, if it rests; gives how many of them it takes."""
        taken = min(jobs, self.limit - self.promised.total()) if self._rests and not self._dismissed else 0
        if taken:
            self.promised[kind] += taken
            self._woken.set()
        return taken

    @property
    def rests(self) -> bool:
        """Whether it waits, and nobody has woken it yet."""
        return self._rests and not self._woken.is_set()

    def serve(self) -> None:
        """Let it wait for what is claimed for it from now on; it must rest. `give` has to follow, whatever happens."""
        self._rests = False
        self._missed.clear()
        self.served = asyncio.get_running_loop().create_future()
        self._woken.set()

    def give(self, claimed: list[Job] | None) -> None:
        """Give it what was claimed for it and committed; None: nothing was committed, it has to look itself."""
        if claimed is None:
            self._missed.update(self.kinds)
        if self.served:
            self.served.set_result(claimed or [])

    def miss(self, kind: str) -> None:
        """Say that jobs came which a claim that is under way may not find."""
        self._missed.add(kind)

    def stop(self) -> None:
        """Let it wait no longer."""
        self._woken.set()

    def dismiss(self) -> None:
        """Let it get nothing any more."""
        self._dismissed = True
        self._woken.set()


class Waiters:
    """The calls that wait in one replica, in the order in which they came."""

    def __init__(self, tell: Callable[[str, job_events_pb2.JobSubmitted], None], *, limit: int = MAX_WAITERS) -> None:
        """`tell` rings the doorbell of other replicas; at most `limit` calls wait."""
        self.exhausted: set[str] = set()
        """Kinds of which a claim has found all there was, and no more jobs have been heard of since."""
        self.stopped = False
        self._tell = tell
        self._limit = limit
        self._replica = uuid4().hex
        self._count = 0
        self._of_kind: dict[str, dict[Waiter, None]] = {}

    @property
    def count(self) -> int:
        """How many wait, or claim just now."""
        return self._count

    @property
    def has_room(self) -> bool:
        """Whether one more may wait."""
        return self._count < self._limit and not self.stopped

    def subscribe(self, nats: bus.Bus) -> None:
        """Hear the doorbells of other replicas."""
        nats.subscribe("jobs.wake.>", self.hear)

    @contextmanager
    def joined(self, kinds: Collection[str], limit: int, worker: str) -> Iterator[Waiter]:
        """Wait for at most `limit` jobs; what is rung for from now on is not missed."""
        waiter = Waiter(self, kinds, limit, worker)
        self._count += 1
        for kind in kinds:
            self._of_kind.setdefault(kind, {})[waiter] = None
        try:
            yield waiter
        finally:
            self._count -= 1
            for kind in kinds:
                del self._of_kind[kind][waiter]
                if not self._of_kind[kind]:
                    del self._of_kind[kind]
            for kind, jobs in waiter.promised.items():
                self.ring(kind, jobs)

    def first(self, kinds: Iterable[str]) -> Waiter | None:
        """Give who rests, and has waited longest, for jobs of one of these kinds."""
        waiting = (waiter for kind in kinds for waiter in self._of_kind.get(kind, {}))
        return next((waiter for waiter in waiting if waiter.rests), None)

    def ring(self, kind: str, jobs: int) -> None:
        """Say that so many more jobs of a kind can be claimed: who waits longest is woken, here or elsewhere."""
        if left := self.ring_here(kind, jobs):
            self._tell(f"jobs.wake.{kind}", job_events_pb2.JobSubmitted(kind=kind, jobs=left, replica=self._replica))

    def ring_here(self, kind: str, jobs: int = ANY) -> int:
        """The same, but let no other replica hear of it; gives for how many nobody was woken."""
        waiters = self._of_kind.get(kind, {})
        for waiter in waiters:
            jobs -= waiter.wake(kind, jobs)
            if not jobs:
                return 0
        self.exhausted.discard(kind)
        for waiter in waiters:
            waiter.miss(kind)
        return jobs

    def exhaust(self, kinds: Iterable[str]) -> None:
        """Say that nothing is left of these kinds."""
        if len(self.exhausted) >= _EXHAUSTED_KINDS:
            self.exhausted.clear()
        self.exhausted.update(kinds)

    def stop(self) -> None:
        """Let nobody wait any longer, nor from now on: the service stops."""
        self.stopped = True
        for waiters in self._of_kind.values():
            for waiter in waiters:
                waiter.stop()

    def dismiss(self, workers: Collection[str]) -> None:
        """Give nothing to calls that these workers have made: they have just lost leases, and may be frozen.

        One that lives calls again at once. Calls at other replicas are over within the seconds that they wait.
        """
        for waiters in self._of_kind.values():
            for waiter in waiters:
                if waiter.worker in workers:
                    waiter.dismiss()

    async def hear(self, received: bus.Received) -> None:
        """Hear a doorbell; not the echo of an own one."""
        submitted = job_events_pb2.JobSubmitted.FromString(received.payload)
        if submitted.replica != self._replica:
            self.ring_here(submitted.kind, submitted.jobs or ANY)
