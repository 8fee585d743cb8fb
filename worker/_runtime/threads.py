"""Handlers that block, each in a thread of its own. A thread cannot be stopped, only asked to, and ignored from then on.

So a handler in a thread should look at `is_cancelled` now and then. Whatever happens to its attempt meanwhile, its slot of the
worker stays taken until it returns: there are never more threads than the worker's concurrency. What it still says after
the end of its attempt is refused, and its result is dropped.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import threading
from collections.abc import Callable
from typing import Any

from worker._api import blocking
from worker._api.context import Context
from worker._api.outcomes import Cancelled

OVER = "the attempt is over"


class Threads:
    """The threads of a worker. They do not keep the process from ending."""

    def __init__(self, *, freed: Callable[[], None]) -> None:
        """`freed` is called when a thread ends that its attempt had left behind."""
        self.stuck = 0
        """Threads whose attempts are over."""
        self._freed = freed

    async def run(self, handler: Callable[..., object], context: Context, *arguments: object) -> object:
        """Call `handler(blocking context, *arguments)` in a new thread."""
        link = Link(context)
        ended: asyncio.Future[object] = link.loop.create_future()
        left = False

        def settle(result: object, error: BaseException | None) -> None:
            if left:
                self.stuck -= 1
                self._freed()
            elif not ended.done():
                ended.set_exception(error) if error else ended.set_result(result)

        def work() -> None:
            result: object = None
            error: BaseException | None = None
            try:
                result = handler(link.blocking(), *arguments)
            except StopIteration as raised:
                # Which no future can carry.
                error = RuntimeError(repr(raised))
            except BaseException as raised:  # noqa: BLE001 - told where the attempt runs
                error = raised
            link.say(settle, result, error)

        threading.Thread(
            target=contextvars.copy_context().run, args=(work,), name=f"{context.kind} {context.job_id}", daemon=True
        ).start()
        try:
            return await ended
        except asyncio.CancelledError:
            left = True
            self.stuck += 1
            raise
        finally:
            link.close()


class Link:
    """Lets a thread use the context of an attempt that lives in the event loop."""

    def __init__(self, context: Context) -> None:
        self.loop = asyncio.get_running_loop()
        self._context = context
        self._is_over = False
        self._calls: set[concurrent.futures.Future[Any]] = set()

    def blocking(self) -> blocking.BlockingContext:
        """Give the context that the handler sees."""
        return blocking.BlockingContext(
            **blocking.snapshot(self._context),
            call=self.call,
            is_cancelled=lambda: self._is_over or self._context.is_cancelled,
        )

    def call(self, method: str, *arguments: Any, **named: Any) -> Any:
        """Await a method of the context from the thread."""
        coroutine = getattr(self._context, method)(*arguments, **named)
        if self._is_over:
            coroutine.close()
            raise Cancelled(OVER)
        call = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        self._calls.add(call)
        try:
            return call.result()
        except concurrent.futures.CancelledError:
            raise Cancelled(OVER) from None
        finally:
            self._calls.discard(call)

    def say(self, callback: Callable[..., None], *arguments: object) -> None:
        """Call something in the event loop, if that still runs."""
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(callback, *arguments)

    def close(self) -> None:
        """End what the thread waits for, and refuse what it asks from now on."""
        self._is_over = True
        for call in tuple(self._calls):
            call.cancel()
