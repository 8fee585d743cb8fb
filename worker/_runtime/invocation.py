"""From a claimed job to the call of its handler."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from worker._api import jobs, kinds, payloads
from worker._api.context import Context
from worker._api.outcomes import JobFailed
from worker._runtime.processes import Processes
from worker._runtime.threads import Threads

Call = Callable[[], Awaitable[object]]
"""Calls the handler. It may be called several times within an attempt."""
Prepare = Callable[[Context], Call]
"""Reads the payload of an attempt and returns the call of its handler. Raises `JobFailed`."""


def prepare(kind: kinds.Kind[Any], name: str, threads: Threads, processes: Processes) -> Prepare:
    """Return the function that prepares attempts of the jobs of this name: of the kind itself, or of its undo kind."""
    is_undo = name != kind.name
    handler: Callable[..., Any] = kind.undo if is_undo and kind.undo else kind.handler
    runners: dict[str | None, Callable[..., Awaitable[object]]] = {
        None: _call,
        "thread": threads.run,
        "process": processes.run,
    }
    runner = runners[kind.pool]

    def prepare_attempt(context: Context) -> Call:
        if is_undo:
            undone = context.payload
            context.undone_job = jobs.UndoneJob(job_id=undone["job_id"], attempt=int(undone["attempt"]))
            context.payload = undone["payload"]
        if kind.payload is None:
            return partial(runner, handler, context)
        return partial(runner, handler, context, payloads.read(kind.payload, context.payload))

    return prepare_attempt


def _call(handler: Callable[..., Awaitable[object]], *arguments: Any) -> Awaitable[object]:
    result = handler(*arguments)
    if inspect.isawaitable(result):
        return result
    # Not retryable: its work is done, and would be done again.
    cause = TypeError("a handler without a pool is an async function")
    raise JobFailed("handler_not_async", "Something went wrong on our side.", retryable=False) from cause
