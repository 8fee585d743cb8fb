"""The context of a blocking handler: the methods of `Context` as plain functions."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, Unpack

from worker._api import jobs, kinds
from worker._api.context import Context
from worker._api.outcomes import Cancelled

P = TypeVar("P")
T = TypeVar("T")


class BlockingContext:
    """One attempt of one job, as a handler in a thread or process sees it. The methods do what those of `Context` do.

    They raise `Cancelled` when the attempt is over, for example after its timeout.
    """

    def __init__(
        self,
        *,
        job_id: str,
        owner_id: str,
        kind: str,
        attempt: int,
        payload: Mapping[str, Any],
        children: jobs.Children,
        undone_job: jobs.UndoneJob | None,
        call: Callable[..., Any],
        is_cancelled: Callable[[], bool],
    ) -> None:
        """`call` runs the method of `Context` of a name and waits for its result."""
        self.job_id = job_id
        self.owner_id = owner_id
        self.kind = kind
        self.attempt = attempt
        self.payload = dict(payload)
        self.children = children
        self.undone_job = undone_job
        self.call = call
        self._is_cancelled = is_cancelled

    @property
    def is_cancelled(self) -> bool:
        """Whether the handler should stop. Always false in a process, which is killed instead."""
        return self._is_cancelled()

    @property
    def log(self) -> logging.Logger:
        """The logger of the kind."""
        return logging.getLogger(self.kind)

    def raise_if_cancelled(self) -> None:
        """Raise `Cancelled` if the handler should stop."""
        if self.is_cancelled:
            raise Cancelled("requested")

    def progress(self, done: int, total: int = 0, message: str = "") -> None:
        """Report progress."""
        self.call("progress", done, total, message)

    def step(self, name: str, work: Callable[[], T]) -> T:
        """Run a part of the work once."""
        is_saved, value = self.call("find_step", name)
        if is_saved:
            return value  # type: ignore[no-any-return]
        started = time.monotonic()
        result = work()
        return self.call("save_step", name, result, time.monotonic() - started)  # type: ignore[no-any-return]

    def checkpoint(self, state: object) -> None:
        """Save the position of a loop."""
        self.call("checkpoint", state)

    def state(self) -> Any:
        """Return the value that `checkpoint` saved last."""
        return self.call("state")

    def submit(
        self,
        kind: kinds.Kind[P] | str,
        payload: P | Mapping[str, Any],
        *,
        name: str = "",
        **options: Unpack[jobs.JobOptions],
    ) -> jobs.SubmittedJob:
        """Submit a child of this job."""
        return self.submit_children([jobs.new_job(kind, payload, **options)], name=name)[0]

    def submit_children(self, new_jobs: Iterable[jobs.NewJob], *, name: str = "") -> list[jobs.SubmittedJob]:
        """Submit children of this job."""
        submitted: list[jobs.SubmittedJob] = self.call("submit_children", list(new_jobs), name=name)
        return submitted

    def list_children(self) -> list[jobs.Child]:
        """Return the children of this job in their current states."""
        children: list[jobs.Child] = self.call("list_children")
        return children


FIELDS = ("job_id", "owner_id", "kind", "attempt", "payload", "children", "undone_job")
"""The attributes of a context that need no call."""


def snapshot(context: Context) -> dict[str, Any]:
    """Return the attributes of a context that need no call."""
    return {name: getattr(context, name) for name in FIELDS}
