"""Handlers that block, each in a process of its own: killed when their attempt is cancelled, times out or loses its lease.

Processes are started when they are first needed and used again. Each is spoken to by a thread, which ends with it. Handler,
payload and result are pickled: the handler must be a function that can be imported.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from worker._api import blocking
from worker._api.context import Context
from worker._api.outcomes import JobFailed
from worker._runtime.threads import Threads

END_SECONDS = 3.0


class Processes:
    """The processes of a worker."""

    def __init__(self, threads: Threads) -> None:
        self._threads = threads
        self._idle: list[_Child] = []

    async def run(self, handler: Callable[..., object], context: Context, *arguments: object) -> object:
        """Call `handler(blocking context, *arguments)` in a process that does nothing else meanwhile."""
        child = self._idle.pop() if self._idle else await asyncio.to_thread(_Child)
        try:
            return await self._threads.run(partial(child.run, handler), context, *arguments)
        finally:
            if child.is_idle:
                self._idle.append(child)
            else:
                child.kill()

    def close(self) -> None:
        """End all that are idle."""
        while self._idle:
            self._idle.pop().kill()


class _Child:
    """A process, seen from the worker."""

    def __init__(self) -> None:
        spawning = multiprocessing.get_context("spawn")
        self._pipe, theirs = spawning.Pipe()
        self._process = spawning.Process(target=_serve, args=(theirs,), name="job handler")
        self._process.start()
        theirs.close()
        self.is_idle = True

    def run(self, handler: Callable[..., object], context: blocking.BlockingContext, *arguments: object) -> object:
        """Have it call the handler, and answer what it asks of the context meanwhile. Called in a thread."""
        self.is_idle = False
        snapshot = {name: value for name, value in vars(context).items() if name in blocking.FIELDS}
        try:
            self._pipe.send((handler, snapshot, arguments))
            while True:
                said, *what = self._pipe.recv()
                if said != "call":
                    break
                self._pipe.send(_try(context.call, *what[0], **what[1]))
        except (EOFError, OSError) as gone:
            self._process.join(END_SECONDS)
            message = "The process that did the work ended before it was done."
            raise JobFailed("process_died", message, retryable=True) from gone
        self.is_idle = True
        return _get(said, what[0])

    def kill(self) -> None:
        """End it at once, and with it what `run` waits for."""
        self.is_idle = False
        self._process.kill()


def _serve(pipe: Connection) -> None:
    """Live in the process: call handlers until the worker is gone."""
    for number in (signal.SIGINT, signal.SIGTERM):
        # Meant for the worker, which drains; it ends this process when it likes.
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        handler, snapshot, arguments = pipe.recv()
        context = blocking.BlockingContext(**snapshot, call=partial(_ask, pipe), is_cancelled=lambda: False)
        pipe.send(_try(handler, context, *arguments))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _ask(pipe: Connection, *arguments: Any, **named: Any) -> Any:
    pipe.send(("call", arguments, named))
    return _get(*pipe.recv())


def _try(function: Callable[..., object], *arguments: Any, **named: Any) -> tuple[str, object]:
    """Call, and give what can be sent: the result, or what was raised."""
    try:
        result = function(*arguments, **named)
        pickle.dumps(result)
    except Exception as error:  # noqa: BLE001 - raised again at the other end
        error.add_note(f"in another process:\n{traceback.format_exc()}")
        with contextlib.suppress(Exception):
            pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
            return "raised", error
        return "raised", RuntimeError(traceback.format_exc())
    return "returned", result


def _get(said: str, what: Any) -> Any:
    if said == "raised":
        raise what
    return what
