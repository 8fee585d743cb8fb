"""Blocking handlers, each in its own thread. A thread cannot be stopped, only asked to stop.

A handler in a thread checks `is_cancelled`. Its slot stays taken until it returns, so there are never more threads than the
concurrency of the worker. After the end of its attempt its calls are refused and its result is dropped.
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

ATTEMPT_OVER = "the attempt is over"


class Threads:
    """The threads of a worker. They are daemons: the process does not wait for them."""

    def __init__(self, *, on_free: Callable[[], None]) -> None:
        """`on_free` is called when a stuck thread ends."""
        self.stuck = 0
        """Threads that outlive their attempts."""
        self._on_free = on_free

    async def run(self, handler: Callable[..., object], context: Context, *arguments: object) -> object:
        """Call `handler(blocking context, *arguments)` in a new thread."""
        proxy = ContextProxy(context)
        outcome: asyncio.Future[object] = proxy.loop.create_future()
        is_stuck = has_ended = False

        def resolve(result: object, error: BaseException | None) -> None:
            nonlocal has_ended
            has_ended = True
            if is_stuck:
                self.stuck -= 1
                self._on_free()
            elif not outcome.done():
                outcome.set_exception(error) if error else outcome.set_result(result)

        def work() -> None:
            result: object = None
            error: BaseException | None = None
            try:
                result = handler(proxy.blocking(), *arguments)
            except Exception as raised:  # noqa: BLE001 - raised again in the event loop
                # A future cannot hold a StopIteration.
                error = RuntimeError(repr(raised)) if isinstance(raised, StopIteration) else raised
            except BaseException as raised:  # noqa: BLE001 - an error of this handler, not of the worker
                # SystemExit would end the worker, and CancelledError looks like a cancellation of the attempt.
                error = RuntimeError(f"the handler raised {raised!r}")
            proxy.call_soon(resolve, result, error)

        threading.Thread(
            target=contextvars.copy_context().run, args=(work,), name=f"{context.kind} {context.job_id}", daemon=True
        ).start()
        try:
            return await outcome
        except asyncio.CancelledError:
            # A cancellation may arrive together with the result.
            if not has_ended:
                is_stuck = True
                self.stuck += 1
            raise
        finally:
            proxy.close()


class ContextProxy:
    """Calls the context of an attempt from a thread. The context lives in the event loop."""

    def __init__(self, context: Context) -> None:
        self.loop = asyncio.get_running_loop()
        self._context = context
        self._is_over = False
        self._calls: set[concurrent.futures.Future[Any]] = set()

    def blocking(self) -> blocking.BlockingContext:
        return blocking.BlockingContext(
            **blocking.snapshot(self._context),
            call=self.call,
            is_cancelled=lambda: self._is_over or self._context.is_cancelled,
        )

    def call(self, method: str, *arguments: Any, **keywords: Any) -> Any:
        """Call a method of the context in the event loop and wait for its result."""
        coroutine = getattr(self._context, method)(*arguments, **keywords)
        if self._is_over:
            coroutine.close()
            raise Cancelled(ATTEMPT_OVER)
        call = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        self._calls.add(call)
        try:
            return call.result()
        except concurrent.futures.CancelledError:
            raise Cancelled(ATTEMPT_OVER) from None
        finally:
            self._calls.discard(call)

    def call_soon(self, callback: Callable[..., None], *arguments: object) -> None:
        """Call a function in the event loop, unless the loop is closed."""
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(callback, *arguments)

    def close(self) -> None:
        """Cancel pending calls of the thread and refuse further ones."""
        self._is_over = True
        for call in tuple(self._calls):
            call.cancel()
