"""ClaimJobs calls that wait for jobs in this replica, and which of them a ready job wakes.

A ready job wakes one call of this replica. Other replicas receive a wake-up only for jobs that woke no call here. Wake-ups may be
lost: while jobs are ready, the reconciler wakes all waiting calls once a second.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from uuid import uuid4

from chassis import bus, run
from repruv.jobs.v1 import job_events_pb2
from services.jobs import channels
from services.jobs.domain import Job

MAX_WAITERS = 1_000
ANY = 1_000_000
"""The number of ready jobs if it is unknown: wakes every call."""
_MAX_DRAINED_KINDS = 10_000


class Waiter:
    """A call that waits for jobs of some kinds."""

    def __init__(self, waiters: Waiters, kinds: Collection[str], limit: int, worker: str) -> None:
        self.kinds = kinds
        self.worker = worker
        self.limit = limit
        self.handoff: asyncio.Future[list[Job]] | None = None
        """Set while another transaction claims for this call; its result is empty if that transaction is not committed."""
        self.reserved: Counter[str] = Counter()
        """Jobs by kind that this call was woken for and has not claimed. No other call was woken for them."""
        self._waiters = waiters
        self._woken = asyncio.Event()
        self._is_waiting = False
        self._evicted = False
        self._stale: set[str] = set()
        # After a claim that drained a kind, another claim would find nothing either.
        self._claims_now = not waiters.drained.issuperset(kinds)

    async def wait(self, ends_at: float) -> bool:
        """Wait until a claim is worthwhile: immediately, or on a wake-up, which the reconciler repeats while jobs are ready.

        Return False if the call must not claim any more, or at `ends_at` by the loop's clock. With `handoff` set, await that
        instead of claiming.
        """
        if not self._claims_now and not self._waiters.stopped:
            self._is_waiting = True
            try:
                if not await run.wait(self._woken, ends_at - asyncio.get_running_loop().time()):
                    return False
            finally:
                self._is_waiting = False
        self._woken.clear()
        if self.handoff:
            return True
        self._stale.clear()
        return not (self._waiters.stopped or self._evicted)

    def record_claim(self, kinds: Collection[str], *, limited: bool) -> None:
        """Note the kind of each claimed job, and whether limits or the size of payloads may have held others back."""
        self.handoff = None
        is_full = len(kinds) >= self.limit
        # With room to spare, the claim got everything it was woken for, or another call did.
        self.reserved = self.reserved - Counter(kinds) if is_full else Counter()
        if not is_full and not limited:
            self._waiters.mark_drained(kind for kind in self.kinds if kind not in self._stale)
        self._claims_now = bool(self._stale)

    def wake(self, kind: str, jobs: int) -> int:
        """Wake the call for up to `jobs` jobs if it waits; return how many it takes."""
        taken = min(jobs, self.limit - self.reserved.total()) if self._is_waiting and not self._evicted else 0
        if taken:
            self.reserved[kind] += taken
            self._woken.set()
        return taken

    @property
    def is_idle(self) -> bool:
        """Whether the call waits and nothing has woken it yet."""
        return self._is_waiting and not self._woken.is_set()

    def reserve(self) -> None:
        """Make an idle call wait for a handoff. `deliver` must follow in every case."""
        self._is_waiting = False
        self._stale.clear()
        self.handoff = asyncio.get_running_loop().create_future()
        self._woken.set()

    def deliver(self, claimed: list[Job] | None) -> None:
        """Hand over the jobs that were claimed and committed; None if the transaction failed: the call claims on its own."""
        if claimed is None:
            self._stale.update(self.kinds)
        if self.handoff:
            self.handoff.set_result(claimed or [])

    def mark_stale(self, kind: str) -> None:
        """Note that jobs of a kind became ready that a claim already in progress may not find."""
        self._stale.add(kind)

    def stop(self) -> None:
        """End the wait."""
        self._woken.set()

    def evict(self) -> None:
        """End the wait, and let the call claim nothing."""
        self._evicted = True
        self._woken.set()


class Waiters:
    """The waiting calls of one replica, in order of arrival."""

    def __init__(self, send: Callable[[str, job_events_pb2.JobSubmitted], None], *, limit: int = MAX_WAITERS) -> None:
        """Create a registry of at most `limit` calls; `send` broadcasts wake-ups to other replicas."""
        self.drained: set[str] = set()
        """Kinds whose ready jobs a claim has taken completely, without a wake-up since."""
        self.stopped = False
        self._send = send
        self._limit = limit
        self._replica = uuid4().hex
        self._count = 0
        self._of_kind: dict[str, dict[Waiter, None]] = {}

    @property
    def count(self) -> int:
        """The number of calls that wait or are claiming."""
        return self._count

    @property
    def has_room(self) -> bool:
        """Whether another call may wait."""
        return self._count < self._limit and not self.stopped

    def subscribe(self, nats: bus.Bus) -> None:
        """Subscribe to the wake-ups of other replicas."""
        nats.subscribe(channels.WAKE.subject(">"), self.on_wakeup)

    @contextmanager
    def register(self, kinds: Collection[str], limit: int, worker: str) -> Iterator[Waiter]:
        """Register a call for at most `limit` jobs; it misses no wake-up from here on."""
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
            for kind, jobs in waiter.reserved.items():
                self.wake(kind, jobs)

    def longest_idle(self, kinds: Iterable[str]) -> Waiter | None:
        """Return the call that has waited longest for one of these kinds, None without an idle call."""
        waiting = (waiter for kind in kinds for waiter in self._of_kind.get(kind, {}))
        return next((waiter for waiter in waiting if waiter.is_idle), None)

    def wake(self, kind: str, jobs: int) -> None:
        """Wake the longest waiting calls for `jobs` newly ready jobs, here first, then in other replicas."""
        if remaining := self.wake_here(kind, jobs):
            self._send(
                channels.WAKE.subject(kind),
                job_events_pb2.JobSubmitted(kind=kind, jobs=remaining, replica=self._replica),
            )

    def wake_here(self, kind: str, jobs: int = ANY) -> int:
        """Wake calls of this replica only; return the number of jobs for which no call was woken."""
        waiters = self._of_kind.get(kind, {})
        for waiter in waiters:
            jobs -= waiter.wake(kind, jobs)
            if not jobs:
                return 0
        self.drained.discard(kind)
        for waiter in waiters:
            waiter.mark_stale(kind)
        return jobs

    def mark_drained(self, kinds: Iterable[str]) -> None:
        """Note that no ready job of these kinds remains."""
        if len(self.drained) >= _MAX_DRAINED_KINDS:
            self.drained.clear()
        self.drained.update(kinds)

    def stop(self) -> None:
        """End all waits, and accept no further ones: the service stops."""
        self.stopped = True
        for waiters in self._of_kind.values():
            for waiter in waiters:
                waiter.stop()

    def evict(self, workers: Collection[str]) -> None:
        """End the calls of workers that have just lost leases: they may be frozen.

        A live worker calls again immediately. Its calls at other replicas end within their wait, at most 20 seconds.
        """
        for waiters in self._of_kind.values():
            for waiter in waiters:
                if waiter.worker in workers:
                    waiter.evict()

    async def on_wakeup(self, received: bus.Received) -> None:
        """Wake calls for a wake-up of another replica; ignore the echo of this replica's own."""
        submitted = job_events_pb2.JobSubmitted.FromString(received.payload)
        if submitted.replica != self._replica:
            self.wake_here(submitted.kind, submitted.jobs or ANY)
