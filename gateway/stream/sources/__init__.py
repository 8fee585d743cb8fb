"""The kinds of events in the streams. A new kind is a module of this package and a line of `build`."""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Sources:
    """All sources. The transitions of jobs have a sequence, so their gaps show; the other sources have none."""

    jobs: Jobs
    unordered: tuple[Source[Any], ...]


def build(
    *, jobs: clients.Jobs, demo: clients.Demo, connections: clients.Connections, exports: ExportsClient
) -> Sources:
    """Build the sources over the clients of their services."""
    return Sources(Jobs(jobs), (Demo(demo), Connections(connections), Exports(exports), Notifications(), Logs()))
