"""One attempt of one job, as its handler sees it."""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping
from datetime import timedelta
from typing import Any, Protocol, TypeVar, Unpack, overload

from chassis import errors
from worker._api import checkpoints, jobs, kinds
from worker._api.jobs import AttemptKey
from worker._api.outcomes import Cancelled
from worker._api.retry import retry_while_unavailable

P = TypeVar("P")
T = TypeVar("T")


class JobsService(checkpoints.Store, Protocol):
    """The calls of the jobs service that a context makes."""

    async def submit_many(self, new_jobs: Iterable[jobs.NewJob]) -> list[jobs.SubmittedJob | errors.Error]:
        """Submit jobs."""

    async def list_children(self, job_id: str) -> list[jobs.Child]:
        """List the children of a job."""


class Context:
    """One attempt of one job, as its handler sees it."""

    def __init__(
        self,
        *,
        job_id: str,
        owner_id: str,
        kind: str,
        attempt: int,
        payload: Mapping[str, Any],
        children: jobs.Children = jobs.Children(),  # noqa: B008 - frozen
        service: JobsService,
    ) -> None:
        self.job_id = job_id
        self.owner_id = owner_id
        self.kind = kind
        self.attempt = attempt
        """With job_id the fencing token: every write of the handler elsewhere must be guarded by it."""
        self.payload = dict(payload)
        self.children = children
        """The children when this attempt started."""
        self.undone_job: jobs.UndoneJob | None = None
        """The job that this handler undoes, if it is an undo handler."""
        self.cancelled = asyncio.Event()
        """Set when the handler should stop."""
        self.latest_progress: jobs.Progress | None = None
        self.on_progress: Callable[[jobs.Progress], None] = _ignore
        self.on_lost: Callable[[], None] = _ignore
        self._service = service
        self._positions = Counter[str]()
        self._checkpoints: checkpoints.Checkpoints | None = None

    @property
    def key(self) -> AttemptKey:
        """The fencing token."""
        return self.job_id, self.attempt

    @property
    def is_cancelled(self) -> bool:
        """Whether the handler should stop."""
        return self.cancelled.is_set()

    @property
    def log(self) -> logging.Logger:
        """The logger of the kind. Its lines, and all others that the handler logs, are kept with the attempt."""
        return logging.getLogger(self.kind)

    def raise_if_cancelled(self) -> None:
        """Raise `Cancelled` if the handler should stop."""
        if self.is_cancelled:
            raise Cancelled("requested")

    async def progress(self, done: int, total: int = 0, message: str = "") -> None:
        """Report progress. Cheap: only the latest report is sent, in the background, a few times a second."""
        self.latest_progress = jobs.Progress(done=done, total=total, message=message)
        self.on_progress(self.latest_progress)

    @overload
    async def step(self, name: str, work: Callable[[], Coroutine[Any, Any, T]]) -> T: ...

    @overload
    async def step(self, name: str, work: Callable[[], T]) -> T: ...

    async def step(self, name: str, work: Callable[[], object]) -> object:
        """Run a part of the work once. Later attempts get its result without running it.

        `name` is unique within the job, 1 to 100 characters. The result is JSON of at most 64 KiB and is returned as JSON
        represents it. If the worker dies between the work and the save, the work runs again.
        """
        is_saved, value = await self.find_step(name)
        if is_saved:
            return value
        started = time.monotonic()
        result = work()
        value = await result if inspect.isawaitable(result) else result
        return await self.save_step(name, value, time.monotonic() - started)

    async def find_step(self, name: str) -> tuple[bool, Any]:
        """Return whether a step has run before, and its result."""
        if not 1 <= len(name) <= 100 or name.startswith("@"):
            raise ValueError("the name of a step has 1 to 100 characters and does not begin with @")
        return await self._saved_values.find(name)

    async def save_step(self, name: str, value: object, seconds: float) -> Any:
        """Save the result of a step that took `seconds`, and return it as JSON represents it."""
        return await self._saved_values.save(name, value, timedelta(seconds=seconds))

    async def checkpoint(self, state: object) -> None:
        """Save the position of a loop for later attempts, at most 64 KiB of JSON. Replaces the previous one."""
        await self._saved_values.save(checkpoints.STATE, state)

    async def state(self) -> Any:
        """Return the value that `checkpoint` saved last, in this attempt or an earlier one, or None."""
        return (await self._saved_values.find(checkpoints.STATE))[1]

    async def submit(
        self,
        kind: kinds.Kind[P] | str,
        payload: P | Mapping[str, Any],
        *,
        name: str = "",
        **options: Unpack[jobs.JobOptions],
    ) -> jobs.SubmittedJob:
        """Submit a child of this job. See `submit_children`."""
        return (await self.submit_children([jobs.new_job(kind, payload, **options)], name=name))[0]

    async def submit_children(self, new_jobs: Iterable[jobs.NewJob], *, name: str = "") -> list[jobs.SubmittedJob]:
        """Submit children of this job, for its owner. After that the handler may raise `WaitForChildren`.

        `name` (by default the kind) and the position among children of that name identify a child. A handler that runs again
        and submits the same children in the same order gets the existing ones. Raises the first error of a rejected child.
        """
        children = list(new_jobs)
        for child in children:
            key = name or child.spec.kind
            child.job_id = jobs.child_id(self.job_id, key, self._positions[key])
            child.spec.parent_id, child.spec.owner_id = self.job_id, self.owner_id
            self._positions[key] += 1
        submitted: list[jobs.SubmittedJob] = []
        for result in await retry_while_unavailable(lambda: self._service.submit_many(children)):
            if isinstance(result, errors.Error):
                raise result
            submitted.append(result)
        return submitted

    async def list_children(self) -> list[jobs.Child]:
        """Return the children of this job in their current states, ordered by id."""
        return await retry_while_unavailable(lambda: self._service.list_children(self.job_id))

    def restart(self) -> None:
        """Prepare another call of the handler within the same attempt."""
        self._positions.clear()

    @property
    def _saved_values(self) -> checkpoints.Checkpoints:
        if self._checkpoints is None:
            self._checkpoints = checkpoints.Checkpoints(self._service, self.key, on_lost=lambda: self.on_lost())
        return self._checkpoints


def _ignore(*_: object) -> None:
    pass
