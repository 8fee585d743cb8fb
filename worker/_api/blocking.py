"""The context of a handler that blocks: what `Context` offers, as plain functions that wait."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, Unpack

from worker._api import jobs, kinds
from worker._api.context import Context
from worker._api.outcomes import Cancelled

P = TypeVar("P")
T = TypeVar("T")


class BlockingContext:
    """One attempt of one job, as a handler in a thread or process sees it. Its calls mean what those of `Context` do.

    When the attempt is over, since its time is up for example, they raise `Cancelled`.
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
        """`call` does what the method of `Context` of this name does, and waits for it."""
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
        """Whether the handler should stop. In a process never: it is killed instead."""
        return self._is_cancelled()

    def raise_if_cancelled(self) -> None:
        """Raise `Cancelled` if the handler should stop."""
        if self.is_cancelled:
            raise Cancelled("requested")

    def progress(self, done: int, total: int = 0, message: str = "") -> None:
        """Tell how far the attempt has come."""
        self.call("progress", done, total, message)

    def step(self, name: str, work: Callable[[], T]) -> T:
        """Do a part of the work once."""
        found, value = self.call("find_step", name)
        return value if found else self.call("save_step", name, work())  # type: ignore[no-any-return]

    def checkpoint(self, state: object) -> None:
        """Keep where a loop has come to."""
        self.call("checkpoint", state)

    def state(self) -> Any:
        """Give what was last kept."""
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

    def submit_children(self, new: Iterable[jobs.NewJob], *, name: str = "") -> list[jobs.SubmittedJob]:
        """Submit children of this job."""
        submitted: list[jobs.SubmittedJob] = self.call("submit_children", list(new), name=name)
        return submitted

    def list_children(self) -> list[jobs.Child]:
        """List the children of this job as they stand."""
        children: list[jobs.Child] = self.call("list_children")
        return children


FIELDS = ("job_id", "owner_id", "kind", "attempt", "payload", "children", "undone_job")
"""What is known of an attempt without asking."""


def snapshot(context: Context) -> dict[str, Any]:
    """Give what is known of an attempt without asking."""
    return {name: getattr(context, name) for name in FIELDS}
