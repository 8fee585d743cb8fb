"""The life of a process: start, background loops that survive their errors, SIGTERM, stop in reverse order."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import logging
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, Self

import uvloop

from chassis import errors

logger = logging.getLogger(__name__)

Translate = Callable[[Exception], errors.Error | None]

EXIT_LOOP_STALLED = 71
_STALL_SECONDS = 15.0
STOP_TRIES = 10


def until_signal(serve: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    """Run `serve(stop)` until it returns; SIGTERM and SIGINT set `stop`, upon which it should return."""

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        async with Background() as background:
            background.start("loop-tick", _Watchdog().tick)
            await serve(stop)

    uvloop.run(main())


class Background:
    """Loops beside the main work. One that raises is logged and started again after a growing pause (0.1 to 5 s).

    What `translate` recognises as a part of the system that does not answer is told in one line, without a traceback.
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
            # Again and again: `asyncio.wait_for` of Python 3.11, which libraries use, can swallow a cancellation.
            # But not hastily: a second one interrupts the cleaning up after the first.
            _, remaining = await asyncio.wait(remaining, timeout=3.0)
        logger.error("background loops do not end", extra={"loops": [task.get_name() for task in remaining]})

    def start(self, name: str, loop: Callable[[], Awaitable[None]]) -> None:
        """Start `loop`, which should run for ever."""
        self._tasks.append(asyncio.create_task(self._keep_running(name, loop), name=name))

    async def _keep_running(self, name: str, loop: Callable[[], Awaitable[None]]) -> None:
        pause = 0.1
        while True:
            started = time.monotonic()
            try:
                await loop()
            except Exception as error:
                known = error if isinstance(error, errors.Error) else self._translate(error)
                if known:
                    logger.warning("background loop waits", extra={"loop": name, "cause": known.code})
                else:
                    logger.exception("background loop failed", extra={"loop": name})
            if time.monotonic() - started > 30:
                pause = 0.1
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311
            pause = min(pause * 2, 5.0)


async def every(seconds: float, step: Callable[[], Awaitable[object]]) -> None:
    """Call `step` for ever, `seconds` apart with jitter."""
    while True:
        await step()
        await asyncio.sleep(seconds * random.uniform(0.75, 1.0))  # noqa: S311


async def wait(event: asyncio.Event, seconds: float) -> bool:
    """Wait until the event is set, at most so long; says whether it is.

    Not `asyncio.wait_for`: in Python 3.11 that one swallows a cancellation which arrives together with the event.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()


class _Watchdog:
    """Ends the process when its event loop stands still: a deaf process that looks alive is worse than a dead one."""

    def __init__(self) -> None:
        self._ticked = time.monotonic()
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    async def tick(self) -> None:
        while True:
            self._ticked = time.monotonic()
            await asyncio.sleep(1.0)

    def _watch(self) -> None:
        previous = time.monotonic()
        while True:
            time.sleep(1.0)
            now = time.monotonic()
            # A gap in this thread's own time means that the whole process was paused, not that the loop is stuck.
            if now - previous > _STALL_SECONDS / 2:
                self._ticked = now
            previous = now
            if now - self._ticked > _STALL_SECONDS:
                faulthandler.dump_traceback(file=sys.stderr)
                os._exit(EXIT_LOOP_STALLED)
