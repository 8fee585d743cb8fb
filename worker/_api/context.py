"""One attempt of one job, as its handler sees it."""

from __future__ import annotations

import asyncio
import inspect
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, Protocol, TypeVar, Unpack, overload

from chassis import errors
from worker._api import checkpoints, jobs, kinds
from worker._api.jobs import AttemptKey
from worker._api.outcomes import Cancelled
from worker._api.retry import retry_while_unavailable

P = TypeVar("P")
T = TypeVar("T")


class Service(checkpoints.Store, Protocol):
    """What a context needs of the jobs service."""

    async def submit_many(self, new: Iterable[jobs.NewJob]) -> list[jobs.SubmittedJob | errors.Error]:
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
        service: Service,
    ) -> None:
        self.job_id = job_id
        self.owner_id = owner_id
        self.kind = kind
        self.attempt = attempt
        """With job_id the fencing token: whatever the handler writes elsewhere must be guarded by it."""
        self.payload = dict(payload)
        self.children = children
        """How many children there were, and how they stood, when this attempt began."""
        self.undone_job: jobs.UndoneJob | None = None
        """In a handler that undoes: whose work."""
        self.cancelled = asyncio.Event()
        """Set when the handler should stop."""
        self.latest_progress: jobs.Progress | None = None
        self.on_progress: Callable[[jobs.Progress], None] = _nothing
        self.on_lost: Callable[[], None] = _nothing
        self._service = service
        self._positions = Counter[str]()
        self._checkpoints: checkpoints.Checkpoints | None = None

    @property
    def held(self) -> AttemptKey:
        """The fencing token."""
        return self.job_id, self.attempt

    @property
    def is_cancelled(self) -> bool:
        """Whether the handler should stop."""
        return self.cancelled.is_set()

    def raise_if_cancelled(self) -> None:
        """Raise `Cancelled` if the handler should stop."""
        if self.is_cancelled:
            raise Cancelled("requested")

    async def progress(self, done: int, total: int = 0, message: str = "") -> None:
        """Tell how far the attempt has come. Cheap: it is sent beside the work, the newest only, a few times a second."""
        self.latest_progress = jobs.Progress(done=done, total=total, message=message)
        self.on_progress(self.latest_progress)

    @overload
    async def step(self, name: str, work: Callable[[], Coroutine[Any, Any, T]]) -> T: ...

    @overload
    async def step(self, name: str, work: Callable[[], T]) -> T: ...

    async def step(self, name: str, work: Callable[[], object]) -> object:
        """Do a part of the work once: later attempts get what it returned, without doing it again.

        `name` is one of the job's own, 1 to 100 characters; `work` returns what JSON can say, at most 64 KiB, and is got back as
        JSON has it. If the worker dies between the work and its saving, the work is done again.
        """
        found, value = await self.find_step(name)
        if found:
            return value
        result = work()
        return await self.save_step(name, await result if inspect.isawaitable(result) else result)

    async def find_step(self, name: str) -> tuple[bool, Any]:
        """Say whether a step was done before, and what it returned."""
        if not 1 <= len(name) <= 100 or name.startswith("@"):
            raise ValueError("a step needs a name of 1 to 100 characters that does not begin with @")
        return await self._saved.find(name)

    async def save_step(self, name: str, value: object) -> Any:
        """Say that a step is done; gives what it returned as JSON has it."""
        return await self._saved.save(name, value)

    async def checkpoint(self, state: object) -> None:
        """Keep where a loop has come to, for the next attempt; replaces what was kept before. At most 64 KiB of JSON."""
        await self._saved.save(checkpoints.STATE, state)

    async def state(self) -> Any:
        """Give what was last kept by `checkpoint`, by this attempt or an earlier one; None if nothing was."""
        return (await self._saved.find(checkpoints.STATE))[1]

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

    async def submit_children(self, new: Iterable[jobs.NewJob], *, name: str = "") -> list[jobs.SubmittedJob]:
        """Submit children of this job, for its owner. After that the handler may raise `WaitForChildren`.

        A child is known by `name` (its kind, if not given) and by its position among those of that name; so when the handler
        runs again it gets the children that are there, provided that it submits the same ones in the same order. Raises the
        first error of those that were refused.
        """
        children = list(new)
        for child in children:
            key = name or child.spec.kind
            child.job_id = jobs.child_id(self.job_id, key, self._positions[key])
            child.spec.parent_id, child.spec.owner_id = self.job_id, self.owner_id
            self._positions[key] += 1
        found: list[jobs.SubmittedJob] = []
        for one in await retry_while_unavailable(lambda: self._service.submit_many(children)):
            if isinstance(one, errors.Error):
                raise one
            found.append(one)
        return found

    async def list_children(self) -> list[jobs.Child]:
        """List the children of this job as they stand, in the order of their submits as far as their ids tell."""
        return await retry_while_unavailable(lambda: self._service.list_children(self.job_id))

    def begin_again(self) -> None:
        """Say that the handler is called again, within the same attempt."""
        self._positions.clear()

    @property
    def _saved(self) -> checkpoints.Checkpoints:
        if self._checkpoints is None:
            self._checkpoints = checkpoints.Checkpoints(self._service, self.held, lost=lambda: self.on_lost())
        return self._checkpoints


def _nothing(*_: object) -> None:
    pass
