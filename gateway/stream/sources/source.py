"""The interface of a source: one kind of event, where it comes from, and how it is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from gateway.stream import frames
from repruv.jobs.v1 import job_pb2

Snapshot = TypeVar("Snapshot")


class Fetched(NamedTuple, Generic[Snapshot]):
    """The snapshots of one user, and the jobs that came with them."""

    snapshots: Sequence[Snapshot]
    jobs: Sequence[job_pb2.Job] = ()


class Source(Generic[Snapshot]):
    """One kind of event. Sources keep no state; `SourceSnapshots` does, for each owner."""

    event: str
    """The name of the event in the stream."""
    subject: str
    """The NATS subject of the snapshots; the owner follows as the last token."""
    has_state = True
    """Whether new streams begin with the latest snapshots, and `fetch` repairs them; such snapshots have a `version`."""
    job_kinds: frozenset[str] = frozenset()
    """The kinds of the jobs that move the resource. Its frames show them, and a contradicting transition causes a refresh."""
    refresh_seconds = 5.0
    """The shortest time between two refreshes of an owner."""

    def parse(self, payload: bytes) -> Snapshot:
        """Return the snapshot in a NATS message."""
        raise NotImplementedError

    async def fetch(self, identity: str, *, quick: bool = False) -> Fetched[Snapshot]:
        """Fetch the current snapshots of a user. `quick` fails at once if the service is down. Raises `errors.Error`."""
        raise NotImplementedError

    def key(self, snapshot: Snapshot) -> str:
        """Return the key of a resource among those of the owner and source."""
        return ""

    def job_id(self, snapshot: Snapshot) -> str:
        """Return the job that moves the resource, or moved it last; empty if there is none."""
        return ""

    def is_in_progress(self, snapshot: Snapshot) -> bool:
        """Return whether the resource is in a transition."""
        return False

    def job_spec(self, snapshot: Snapshot) -> job_pb2.JobSpec:
        """Return kind and owner of the job that moves the resource."""
        raise NotImplementedError

    def show(self, snapshot: Snapshot, job: job_pb2.Job | None) -> Mapping[str, Any] | None:
        """Return the JSON of a snapshot, with its job if that is known; None for a snapshot that streams leave out."""
        raise NotImplementedError

    def frame(self, snapshot: Snapshot, job: job_pb2.Job | None) -> frames.Frame | None:
        """Return the frame of a snapshot; None for one that streams leave out."""
        data = self.show(snapshot, job)
        if data is None:
            return None
        return frames.Frame(
            event=self.event,
            data=frames.encode(self.event, data),
            version=data["version"],
            resource_key=self.key(snapshot),
        )
