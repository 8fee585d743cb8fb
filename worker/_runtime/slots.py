"""The attempts that a worker holds, and the slots that are free."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from worker._api.jobs import AttemptKey
from worker._runtime.attempt import AttemptRunner, StopReason

logger = logging.getLogger(__name__)


class Slots:
    """The attempts that a worker holds. A slot is taken while the handler runs, not while the outcome is delivered."""

    def __init__(self, concurrency: int, *, on_free: Callable[[], None], stuck_threads: Callable[[], int]) -> None:
        """`on_free` is called when the first slot becomes free. `stuck_threads` returns the number of slots that threads keep."""
        self._concurrency = concurrency
        self._on_free = on_free
        self._stuck_threads = stuck_threads
        self._running_handlers = 0
        self._attempts: dict[AttemptKey, AttemptRunner] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self.is_occupied = asyncio.Event()
        """Set while the worker holds an attempt."""

    def __len__(self) -> int:
        return len(self._attempts)

    @property
    def free(self) -> int:
        """The number of jobs to claim. A worker holds at most twice as many attempts as slots: some only deliver outcomes."""
        return min(
            self._concurrency - self._running_handlers - self._stuck_threads(),
            2 * self._concurrency - len(self._attempts),
        )

    @property
    def is_mostly_free(self) -> bool:
        """Whether at least half of the slots are free."""
        return 2 * self.free >= self._concurrency

    @property
    def keys(self) -> list[AttemptKey]:
        return list(self._attempts)

    @property
    def running_keys(self) -> list[AttemptKey]:
        """The keys of the attempts whose handlers run."""
        return [key for key, attempt in self._attempts.items() if attempt.is_running]

    def start(self, attempt: AttemptRunner) -> None:
        self._attempts[attempt.key] = attempt
        self.is_occupied.set()
        self._running_handlers += 1
        task = asyncio.create_task(self._run(attempt))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def on_handler_done(self) -> None:
        """Free the slot of a handler that has ended."""
        was_full = self.free <= 0
        self._running_handlers -= 1
        if was_full:
            # Jobs may wait for this slot. If another slot was free, the last claim has taken all ready jobs.
            self._on_free()

    def stop(self, keys: Iterable[AttemptKey], reason: StopReason) -> None:
        """Stop attempts at once."""
        for key in keys:
            if attempt := self._attempts.get(key):
                attempt.stop(reason)

    def request_cancel(self, keys: Iterable[AttemptKey]) -> None:
        """Ask the handlers of attempts to stop."""
        for key in keys:
            if attempt := self._attempts.get(key):
                attempt.request_cancel()

    async def _run(self, attempt: AttemptRunner) -> None:
        try:
            await attempt.run()
        except Exception:
            logger.exception("attempt broke", extra={"job_id": attempt.key[0], "attempt": attempt.key[1]})
        finally:
            was_full = self.free <= 0
            del self._attempts[attempt.key]
            if not self._attempts:
                self.is_occupied.clear()
            if was_full:
                self._on_free()
