"""From a claimed job to the call of its handler."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from worker._api import jobs, kinds, payloads
from worker._api.context import Context
from worker._runtime.processes import Processes
from worker._runtime.threads import Threads

Call = Callable[[], Awaitable[object]]
"""Calls the handler; may be called again within the attempt."""
Begin = Callable[[Context], Call]
"""Reads the payload for the handler. Raises `JobFailed`."""


def begin(kind: kinds.Kind[Any], name: str, threads: Threads, processes: Processes) -> Begin:
    """Give how attempts of the jobs of this name begin: those of the kind itself, or those that undo them."""
    is_undo = name != kind.name
    handler: Callable[..., Any] = kind.undo if is_undo and kind.undo else kind.handler
    runs: dict[str | None, Callable[..., Awaitable[object]]] = {
        None: _call,
        "thread": threads.run,
        "process": processes.run,
    }
    run = runs[kind.pool]

    def read(context: Context) -> Call:
        if is_undo:
            undone = context.payload
            context.undone_job = jobs.UndoneJob(job_id=undone["job_id"], attempt=int(undone["attempt"]))
            context.payload = undone["payload"]
        if kind.payload is None:
            return partial(run, handler, context)
        return partial(run, handler, context, payloads.read(kind.payload, context.payload))

    return read


def _call(handler: Callable[..., Awaitable[object]], *arguments: Any) -> Awaitable[object]:
    return handler(*arguments)
