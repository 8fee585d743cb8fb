"""The jobs service of a context for tests: keeps what a handler does, in memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from chassis import errors
from worker import jobs

_UNSUCCESSFUL = {"failed", "cancelled"}
_ENDED = {"completed", *_UNSUCCESSFUL}


@dataclass(slots=True, kw_only=True)
class Recorded:
    """What a handler did."""

    progress: list[jobs.Progress] = field(default_factory=list)
    checkpoints: dict[str, Any] = field(default_factory=dict)
    """Results of steps by their names; what `checkpoint` has kept is under `@state`."""
    submitted: list[jobs.New] = field(default_factory=list)
    """The children, each once."""
    children: list[jobs.Child] = field(default_factory=list)
    """Those that `list_children` shows."""

    def counts(self) -> jobs.Children:
        """Count the children."""
        states = [child.state for child in self.children]
        return jobs.Children(
            total=len(states),
            ended=sum(state in _ENDED for state in states),
            unsuccessful=sum(state in _UNSUCCESSFUL for state in states),
        )

    async def save_checkpoint(self, held: jobs.AttemptKey, name: str, value: Any) -> None:
        """Keep a value."""
        self.checkpoints[name] = value

    async def get_checkpoints(self, held: jobs.AttemptKey) -> dict[str, Any]:
        """Give all values."""
        return dict(self.checkpoints)

    async def submit_many(self, new: Iterable[jobs.New]) -> list[jobs.Submitted | errors.Error]:
        """Take children, as the jobs service would."""
        return [self._submit(one) for one in new]

    async def list_children(self, job_id: str) -> list[jobs.Child]:
        """List the children that the test has given."""
        return list(self.children)

    def _submit(self, new: jobs.New) -> jobs.Submitted:
        created = all(known.job_id != new.job_id for known in self.submitted)
        if created:
            self.submitted.append(new)
        return jobs.Submitted(job_id=new.job_id, created=created, served=True, state="pending")
