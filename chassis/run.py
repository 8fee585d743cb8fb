"""Background loops that are restarted after errors, and waiting with jitter."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import time
from collections.abc import Awaitable, Callable
from functools import partial
from types import TracebackType
from typing import Self

from chassis import errors

logger = logging.getLogger(__name__)

Translate = Callable[[Exception], errors.Error | None]

STOP_TRIES = 10
GRID_SECONDS = 1.0
"""Pauses of the loops of a process end at multiples of this time: an idle process wakes up once for several loops."""

_offset = 0.0
"""The beginning of the grid, different for each process: replicas do not poll together."""


def _choose_offset() -> None:
    global _offset
    _offset = random.uniform(0.0, GRID_SECONDS)  # noqa: S311


_choose_offset()
os.register_at_fork(after_in_child=_choose_offset)


class Background:
    """Loops that run in the background. A loop that raises is logged and restarted after a growing delay (0.1 to 5 s).

    An error that `translate` recognises as an unavailable dependency is logged in one line, without a traceback.
    """

    def __init__(self, *, translate: Translate = lambda error: None) -> None:
        self._translate = translate
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        remaining = set(self._tasks)
        for _ in range(STOP_TRIES):
            if not remaining:
                return
            for task in remaining:
                task.cancel()
            # Repeated because `asyncio.wait_for` of Python 3.11, used by libraries, can swallow a cancellation.
            # Slowly, because a second cancellation interrupts the cleanup after the first.
            _, remaining = await asyncio.wait(remaining, timeout=3.0)
        logger.error("background loops do not stop", extra={"loops": [task.get_name() for task in remaining]})

    def start(self, name: str, loop: Callable[[], Awaitable[None]]) -> None:
        """Start `loop`; it should run forever."""
        self._tasks.append(asyncio.create_task(self._keep_running(name, loop), name=name))

    def repeat(self, name: str, seconds: float, step: Callable[[], Awaitable[object]]) -> None:
        """Start a loop that calls `step`, with pauses of `pause(seconds)` between calls."""
        self.start(name, partial(every, seconds, step))

    async def _keep_running(self, name: str, loop: Callable[[], Awaitable[None]]) -> None:
        # Here, because the image of the provisioning lacks the library.
        from chassis import metrics

        failures = metrics.LOOP_FAILURES.labels(name)
        pause = 0.1
        while True:
            started = time.monotonic()
            try:
                await loop()
            except asyncio.CancelledError:
                if is_being_cancelled():
                    raise
                # A library has awaited a future of its own that it had cancelled: nobody has ended this loop.
                failures.inc()
                logger.exception("background loop failed", extra={"loop": name})
            except Exception as error:
                failures.inc()
                expected = error if isinstance(error, errors.Error) else self._translate(error)
                if expected:
                    logger.warning("background loop waits", extra={"loop": name, "cause": expected.code})
                else:
                    logger.exception("background loop failed", extra={"loop": name})
            if time.monotonic() - started > 30:
                pause = 0.1
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311
            pause = min(pause * 2, 5.0)


def is_being_cancelled() -> bool:
    """Return whether a `CancelledError` in this task is meant for it."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


async def every(seconds: float, step: Callable[[], Awaitable[object]]) -> None:
    """Call `step` forever, with pauses of `pause(seconds)` between calls."""
    while True:
        await step()
        await asyncio.sleep(pause(seconds))


def pause(seconds: float) -> float:
    """Return three quarters of `seconds` to all of it: up to the last multiple of `GRID_SECONDS` in this range.

    Without one it is a random time of the range, so that replicas that start together do not poll together.
    """
    now = time.monotonic()
    late = (now + seconds - _offset) % GRID_SECONDS
    return seconds - late if late <= seconds / 4 else seconds * random.uniform(0.75, 1.0)  # noqa: S311


async def wait(event: asyncio.Event, seconds: float) -> bool:
    """Wait until the event is set or `seconds` have passed; return whether it is set.

    `asyncio.wait_for` of Python 3.11 would swallow a cancellation that arrives together with the event.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()
