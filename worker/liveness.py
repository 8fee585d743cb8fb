"""Detects loops of a worker that no longer iterate. A worker that holds jobs and claims none is worse than a dead one."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections.abc import Callable

from chassis import run

logger = logging.getLogger(__name__)

STALLED_SECONDS = 15.0
"""A claim takes 10 s at most, of which it waits 7 s in the jobs service; pauses are iterations of their own."""
EXIT_LOOP_STALLED = 72


def end_process() -> None:
    """End this process at once. Its supervisor restarts it, and its jobs go to other workers."""
    logging.shutdown()
    sys.stderr.flush()
    os._exit(EXIT_LOOP_STALLED)


class Liveness:
    """The time of the last iteration of each loop. An iteration counts when a call was answered or failed."""

    def __init__(
        self, *, stalled_seconds: float = STALLED_SECONDS, on_stalled: Callable[[], None] = end_process
    ) -> None:
        self._stalled_seconds = stalled_seconds
        self._on_stalled = on_stalled
        self._last_beats: dict[str, float] = {}

    def beat(self, loop: str) -> None:
        """Record the start of a loop, or an iteration."""
        self._last_beats[loop] = time.monotonic()

    def finish(self, loop: str) -> None:
        """Record that a loop has ended normally."""
        self._last_beats.pop(loop, None)

    def seconds_since(self, loop: str) -> float:
        """Return the seconds since the last iteration, or 0 for a loop that does not run."""
        now = time.monotonic()
        return now - self._last_beats.get(loop, now)

    @property
    def stalled(self) -> list[str]:
        """The loops that no longer iterate."""
        return [loop for loop in tuple(self._last_beats) if self.seconds_since(loop) > self._stalled_seconds]

    async def watch(self) -> None:
        """Call `on_stalled` when a loop stalls. `chassis.run` watches the event loop itself."""
        pause = min(3.0, self._stalled_seconds / 4)
        while True:
            slept_at = time.monotonic()
            await asyncio.sleep(run.pause(pause))
            if time.monotonic() - slept_at > self._stalled_seconds / 2:
                # The whole process stood still, for example because the machine slept. The loops iterate again now.
                for loop in self._last_beats:
                    self.beat(loop)
            if stalled := self.stalled:
                logger.critical("worker loops are stalled: the process ends", extra={"loops": stalled})
                self._on_stalled()
