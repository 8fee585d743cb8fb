"""The kinds of events in the streams. A new kind is a module of this package and a line of `build`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from gateway import clients
from gateway.clients.exports import Exports as ExportsClient
from gateway.stream.sources.connections import Connections
from gateway.stream.sources.demo import Demo
from gateway.stream.sources.exports import Exports
from gateway.stream.sources.jobs import Jobs
from gateway.stream.sources.logs import Logs
from gateway.stream.sources.notifications import Notifications
from gateway.stream.sources.source import Source

__all__ = ["Source", "Sources", "build"]


FROM_JOBS = "jobs.*"
"""Takes all messages of the jobs service about an owner: one subscription instead of four."""


@dataclass(frozen=True)
class Sources:
    """All sources. The transitions of jobs have a sequence, so their gaps show; the other sources have none."""

    jobs: Jobs
    unordered: tuple[Source[Any], ...]

    @cached_property
    def by_subject(self) -> Mapping[str, Source[Any]]:
        return {source.subject: source for source in (self.jobs, *self.unordered)}

    def subjects(self, owner_id: str) -> list[str]:
        """Return the subjects that take all messages about an owner."""
        return [f"{subject}.{owner_id}" for subject in self._subscribed]

    @cached_property
    def _subscribed(self) -> Sequence[str]:
        return [FROM_JOBS, *(subject for subject in self.by_subject if not subject.startswith("jobs."))]


def build(
    *, jobs: clients.Jobs, demo: clients.Demo, connections: clients.Connections, exports: ExportsClient
) -> Sources:
    """Build the sources over the clients of their services."""
    return Sources(Jobs(jobs), (Demo(demo), Connections(connections), Exports(exports), Notifications(), Logs()))
