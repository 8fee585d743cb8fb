"""Whether the loops of a worker turn. One that holds jobs and claims none any more is worse than a dead one."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections.abc import Callable

logger = logging.getLogger(__name__)

STALLED_SECONDS = 15.0
"""Every turn of a loop is over sooner by far: its calls and pauses take 8 s at most, of which a claim waits 5 s."""
EXIT_LOOP_STALLED = 72


def end_process() -> None:
    """End this process at once: its supervisor starts it again, and its jobs go to other workers."""
    logging.shutdown()
    sys.stderr.flush()
    os._exit(EXIT_LOOP_STALLED)


class Liveness:
    """When each loop last turned: was told whether there is anything to do, or that nobody answers."""

    def __init__(self, *, stalled_seconds: float = STALLED_SECONDS, die: Callable[[], None] = end_process) -> None:
        self._stalled_seconds = stalled_seconds
        self._die = die
        self._turned: dict[str, float] = {}

    def turned(self, loop: str) -> None:
        """Say that a loop turns, or begins to."""
        self._turned[loop] = time.monotonic()

    def ended(self, loop: str) -> None:
        """Say that a loop has ended as it should."""
        self._turned.pop(loop, None)

    def seconds_since(self, loop: str) -> float:
        """How long ago it turned; 0 for one that does not run."""
        now = time.monotonic()
        return now - self._turned.get(loop, now)

    @property
    def stalled(self) -> list[str]:
        """The loops that do not turn any more."""
        return [loop for loop in tuple(self._turned) if self.seconds_since(loop) > self._stalled_seconds]

    async def watch(self) -> None:
        """End the process when a loop stands still, for ever. That the event loop does is seen by `chassis.run`."""
        pause = min(1.0, self._stalled_seconds / 4)
        while True:
            slept_at = time.monotonic()
            await asyncio.sleep(pause)
            if time.monotonic() - slept_at > self._stalled_seconds / 2:
                # Everything stood still, as when the machine slept; the loops begin to turn just now.
                for loop in self._turned:
                    self.turned(loop)
            if stalled := self.stalled:
                logger.critical("worker loops stand still: the process ends", extra={"loops": stalled})
                self._die()
