"""A context for tests: calls a handler as a function, without a jobs service."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from chassis import errors, ids, protobuf
from worker._api import blocking, jobs
from worker._api.context import Context

_UNSUCCESSFUL = {"failed", "cancelled"}
_TERMINAL = {"completed", *_UNSUCCESSFUL}


@dataclass(slots=True, kw_only=True)
class Recorded:
    """Records what a handler does, in place of the jobs service."""

    progress: list[jobs.Progress] = field(default_factory=list)
    checkpoints: dict[str, Any] = field(default_factory=dict)
    """Results of steps by name; the value of `checkpoint` is under `@state`."""
    submitted: list[jobs.NewJob] = field(default_factory=list)
    """The submitted children, without repeated submits."""
    children: list[jobs.Child] = field(default_factory=list)
    """The children that `list_children` returns."""

    def counts(self) -> jobs.Children:
        states = [child.state for child in self.children]
        return jobs.Children(
            total=len(states),
            ended=sum(state in _TERMINAL for state in states),
            unsuccessful=sum(state in _UNSUCCESSFUL for state in states),
        )

    async def save_checkpoint(
        self, key: jobs.AttemptKey, name: str, value: Any, duration: timedelta | None, number: int
    ) -> None:
        self.checkpoints[name] = value

    async def get_checkpoints(self, key: jobs.AttemptKey) -> dict[str, Any]:
        """Return all values."""
        return dict(self.checkpoints)

    async def submit_many(self, new_jobs: Iterable[jobs.NewJob]) -> list[jobs.SubmittedJob | errors.Error]:
        """Accept children as the jobs service would."""
        return [self._submit(job) for job in new_jobs]

    async def list_children(self, job_id: str) -> list[jobs.Child]:
        """Return the children that the test has set."""
        return list(self.children)

    def _submit(self, job: jobs.NewJob) -> jobs.SubmittedJob | errors.AlreadyExists:
        earlier = next((earlier for earlier in self.submitted if earlier.job_id == job.job_id), None)
        if earlier and (earlier.spec.kind, earlier.spec.payload) != (job.spec.kind, job.spec.payload):
            return errors.AlreadyExists("This job_id belongs to another job.", code="job_id_taken", field="job_id")
        if created := earlier is None:
            self.submitted.append(job)
        return jobs.SubmittedJob(job_id=job.job_id, created=created, has_worker=True, state="pending")


class RecordingContext(Context):
    """The context of one attempt. Ids that the test does not set are random. `recorded` holds what the handler did."""

    def __init__(
        self,
        payload: Mapping[str, Any] | None = None,
        *,
        job_id: str = "",
        owner_id: str = "",
        kind: str = "test.kind",
        attempt: int = 1,
        checkpoints: Mapping[str, Any] | None = None,
        children: Iterable[jobs.Child] = (),
    ) -> None:
        """`checkpoints` come from earlier attempts. With them the attempt is at least the second.

        They and the payload become JSON, as the handler gets them from the jobs service. Raises ValueError or TypeError.
        """
        self.recorded = Recorded(checkpoints=_as_json(checkpoints), children=list(children))
        super().__init__(
            job_id=job_id or str(ids.uuid7()),
            owner_id=owner_id or str(ids.uuid7()),
            kind=kind,
            attempt=max(attempt, 2) if checkpoints else attempt,
            payload=_as_json(payload),
            children=self.recorded.counts(),
            service=self.recorded,
        )
        self.on_progress = self.recorded.progress.append

    def blocking(self) -> blocking.BlockingContext:
        """Return this context as a blocking handler gets it."""
        return blocking.BlockingContext(
            **blocking.snapshot(self), call=self._call, is_cancelled=lambda: self.is_cancelled
        )

    def _call(self, method: str, *arguments: Any, **keywords: Any) -> Any:
        try:
            getattr(self, method)(*arguments, **keywords).send(None)
        except StopIteration as ended:
            return ended.value
        raise AssertionError("recorded calls never wait")


def _as_json(fields: Mapping[str, Any] | None) -> dict[str, Any]:
    return protobuf.from_struct(protobuf.to_struct(fields or {}))
