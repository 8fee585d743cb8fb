"""Blocking handlers in child processes. A process is killed when its attempt is cancelled, times out or loses its lease.

Processes are started on demand and reused. A thread of the worker talks to each through a pipe. Handler, payload and result
are pickled, so the handler must be a function that can be imported.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
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

from chassis import logs, process
from worker._api import blocking
from worker._api.context import Context
from worker._api.outcomes import JobFailed
from worker._runtime.threads import Threads

EXIT_SECONDS = 3.0


class Processes:
    """The child processes of a worker."""

    def __init__(self, threads: Threads) -> None:
        self._threads = threads
        self._idle: list[_Child] = []

    async def run(self, handler: Callable[..., object], context: Context, *arguments: object) -> object:
        """Call `handler(blocking context, *arguments)` in a process that runs nothing else meanwhile."""
        child = self._idle.pop() if self._idle else await asyncio.to_thread(_Child)
        # Not in the thread: it may begin after the attempt has ended, and would share the process with the next job.
        child.is_idle = False
        try:
            return await self._threads.run(partial(child.run, handler), context, *arguments)
        finally:
            if child.is_idle:
                self._idle.append(child)
            else:
                child.kill()

    def close(self) -> None:
        """Kill the idle processes."""
        while self._idle:
            self._idle.pop().kill()


class _Child:
    """A child process, seen from the worker."""

    def __init__(self) -> None:
        spawning = multiprocessing.get_context("spawn")
        self._pipe, child_pipe = spawning.Pipe()
        self._process = spawning.Process(target=_serve, args=(child_pipe,), name="job handler")
        self._process.start()
        child_pipe.close()
        self.is_idle = True

    def run(self, handler: Callable[..., object], context: blocking.BlockingContext, *arguments: object) -> object:
        """Run the handler in the process and serve its calls of the context. Called in a thread."""
        fields = {name: value for name, value in vars(context).items() if name in blocking.FIELDS}
        try:
            self._pipe.send((handler, fields, arguments))
            while True:
                message, *content = self._pipe.recv()
                if message == "log":
                    record = logging.makeLogRecord(content[0])
                    logging.getLogger(record.name).handle(record)
                elif message == "call":
                    self._pipe.send(_try(context.call, *content[0], **content[1]))
                else:
                    break
        except (EOFError, OSError) as error:
            self._process.join(EXIT_SECONDS)
            text = "The process that did the work ended before it was done."
            raise JobFailed("process_died", text, retryable=True) from error
        result, self.is_idle = content
        return _result(message, result)

    def kill(self) -> None:
        """Kill the process, and those that its handler has started. A pending `run` raises `JobFailed`."""
        self._process.kill()
        # It leads no group if it has only just been started.
        with contextlib.suppress(ProcessLookupError):
            if pid := self._process.pid:
                os.killpg(pid, signal.SIGKILL)


def _serve(pipe: Connection) -> None:
    """Run the main loop of the child process: call handlers until the worker is gone."""
    os.setpgid(0, 0)
    for number in (signal.SIGINT, signal.SIGTERM):
        # These signals are for the worker: it drains, then kills this process.
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    process.freeze_modules()
    outgoing = _Outgoing(pipe)
    logging.basicConfig(level=logging.INFO, handlers=[outgoing], force=True)
    call = partial(_call_parent, pipe, outgoing, threading.Lock())
    while True:
        handler, fields, arguments = pipe.recv()
        before = set(threading.enumerate())
        context = blocking.BlockingContext(**fields, call=call, is_cancelled=lambda: False)
        outcome = _try(handler, context, *arguments)
        # A thread that the handler has left would log and report in the name of the next job.
        outgoing.send((*outcome, before.issuperset(threading.enumerate())))


class _Outgoing(logging.Handler):
    """Sends messages to the worker from any thread, log lines among them."""

    def __init__(self, pipe: Connection) -> None:
        super().__init__()
        self._pipe = pipe
        self._sending = threading.Lock()

    def send(self, message: tuple[object, ...]) -> None:
        with self._sending:
            self._pipe.send(message)

    def emit(self, record: logging.LogRecord) -> None:
        fields = {"name": record.name, "levelno": record.levelno, "levelname": record.levelname}
        try:
            self.send(("log", {**fields, "created": record.created, "msg": logs.text(record)}))
        except Exception:  # noqa: BLE001 - a line that cannot be formatted is no error of the job
            self.handleError(record)


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.killpg(0, signal.SIGKILL)


def _call_parent(
    pipe: Connection, outgoing: _Outgoing, calling: threading.Lock, *arguments: Any, **keywords: Any
) -> Any:
    # One thread of the handler at a time: the next answer is that to its call.
    with calling:
        outgoing.send(("call", arguments, keywords))
        answer = pipe.recv()
    return _result(*answer)


def _try(function: Callable[..., object], *arguments: Any, **keywords: Any) -> tuple[str, object]:
    """Call a function and return a message that can be pickled: its result or its error."""
    try:
        result = function(*arguments, **keywords)
        pickle.dumps(result)
    except Exception as error:  # noqa: BLE001 - raised again at the other end
        error.add_note(f"in another process:\n{traceback.format_exc()}")
        with contextlib.suppress(Exception):
            pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
            return "raised", error
        return "raised", RuntimeError(traceback.format_exc())
    return "returned", result


def _result(message: str, content: Any) -> Any:
    if message == "raised":
        raise content
    return content
