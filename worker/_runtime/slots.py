"""The attempts that a worker holds, and how many more it can take."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from worker._api.jobs import AttemptKey
from worker._runtime.attempt import Attempt, StopReason

logger = logging.getLogger(__name__)


class Slots:
    """The attempts that a worker holds: those whose handlers run, and those whose outcomes are being told."""

    def __init__(self, concurrency: int, *, freed: Callable[[], None], stuck: Callable[[], int]) -> None:
        """`freed` is called when there is room again; `stuck` gives how many slots are taken by what cannot be stopped."""
        self._concurrency = concurrency
        self._freed = freed
        self._stuck = stuck
        self._working = 0
        self._attempts: dict[AttemptKey, Attempt] = {}
        self.tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._attempts)

    @property
    def free(self) -> int:
        """How many jobs can be taken. What only waits for its outcome to be heard takes no slot, unless that becomes many."""
        return min(self._concurrency - self._working - self._stuck(), 2 * self._concurrency - len(self._attempts))

    @property
    def is_mostly_free(self) -> bool:
        """Whether at least half of the slots are free."""
        return 2 * self.free >= self._concurrency

    @property
    def held(self) -> list[AttemptKey]:
        """All that is held."""
        return list(self._attempts)

    @property
    def working(self) -> list[AttemptKey]:
        """Those whose handlers run."""
        return [held for held, attempt in self._attempts.items() if attempt.is_working]

    def start(self, attempt: Attempt) -> None:
        """Run an attempt."""
        self._attempts[attempt.held] = attempt
        self._working += 1
        task = asyncio.create_task(self._run(attempt))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def worked(self) -> None:
        """Say that the handler of an attempt has ended."""
        was_full = self.free <= 0
        self._working -= 1
        if was_full:
            # Jobs may wait that there was no room for; otherwise the last claim has taken all there were.
            self._freed()

    def stop(self, attempts: Iterable[AttemptKey], fate: StopReason) -> None:
        """Stop some at once."""
        for held in attempts:
            if attempt := self._attempts.get(held):
                attempt.stop(fate)

    def request_cancel(self, attempts: Iterable[AttemptKey]) -> None:
        """Ask some to stop."""
        for held in attempts:
            if attempt := self._attempts.get(held):
                attempt.request_cancel()

    async def _run(self, attempt: Attempt) -> None:
        try:
            await attempt.run()
        except Exception:
            logger.exception("attempt broke", extra={"job_id": attempt.held[0], "attempt": attempt.held[1]})
        finally:
            was_full = self.free <= 0
            del self._attempts[attempt.held]
            if was_full:
                self._freed()
