"""The latest known snapshots of one owner and source, and whether they may be out of date.

Snapshots have no sequence that would show a missed one. A transition of a job of one of the source's `job_kinds` has: when
the two contradict each other for a second, the snapshots need a refresh.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Generic, TypeVar

from gateway import views
from gateway.stream.sources.source import Source
from repruv.jobs.v1 import job_pb2

MAX_SNAPSHOTS = 64
SETTLE_SECONDS = 1.0
"""How long a job's transition and the event of its resource may be apart."""
MAX_REFRESHES = 10
"""Refreshes that may fail to resolve one contradiction."""

Snapshot = TypeVar("Snapshot")


class SourceSnapshots(Generic[Snapshot]):
    """The latest snapshots of one owner and source, at most 64."""

    __slots__ = (
        "_check_at",
        "_is_confirmed",
        "_jobs",
        "_latest",
        "_newest_job",
        "_refresh_after",
        "_refreshes",
        "source",
    )

    def __init__(self, source: Source[Snapshot], jobs: SourceSnapshots[job_pb2.Job] | None = None) -> None:
        """`jobs` are the owner's jobs, which the snapshots must not contradict."""
        self.source = source
        self._jobs = jobs
        self._latest: dict[str, Snapshot] = {}
        self._newest_job = ""
        self._is_confirmed = False
        # When the snapshots are compared with the jobs; None while no event has put them in doubt.
        self._check_at: float | None = None
        self._refresh_after = 0.0
        self._refreshes = 0

    @property
    def latest(self) -> Collection[Snapshot]:
        """The latest snapshot of each resource."""
        return self._latest.values()

    @property
    def is_in_progress(self) -> bool:
        """Whether one of the resources is in a transition."""
        return any(map(self.source.is_in_progress, self._latest.values()))

    @property
    def is_fresh(self) -> bool:
        """Whether a new stream can begin with them, as long as NATS is live.

        The job of a resource in progress is shown with it, so it has to be fetched.
        """
        is_settled = self._is_confirmed and self._check_at is None
        return is_settled and not (self.source.job_kinds and self.is_in_progress)

    def get(self, key: str) -> Snapshot | None:
        """Return the latest snapshot with this key, if there is one."""
        return self._latest.get(key)

    def note(self, snapshot: Snapshot) -> bool:
        """Keep a snapshot; False if the known one is as new or newer."""
        key = self.source.key(snapshot)
        previous = self._latest.pop(key, None)
        if previous is not None and previous.version >= snapshot.version:  # type: ignore[attr-defined]
            self._latest[key] = previous
            return False
        self._latest[key] = snapshot
        if len(self._latest) > MAX_SNAPSHOTS:
            del self._latest[next(iter(self._latest))]
        return True

    def expect_change(self, job: job_pb2.Job) -> None:
        """Compare the snapshots with this job, which has moved, unless its resource's event arrives within a second."""
        self._newest_job = max(self._newest_job, job.job_id)
        self._check_at = _now() + SETTLE_SECONDS
        self._refresh_after = 0.0
        self._refreshes = 0

    def confirm(self) -> None:
        """Mark the snapshots as complete and current."""
        self._is_confirmed = True
        if self._match_jobs():
            self._check_at = None

    def invalidate(self) -> None:
        """Mark that events may have been missed."""
        self._is_confirmed = False
        self._check_at = 0.0
        self._refreshes = 0

    def clear(self) -> None:
        """Drop all snapshots, which may belong to another history."""
        self._latest.clear()
        self._newest_job = ""
        self.invalidate()

    def needs_refresh(self, *, is_live: bool) -> bool:
        """Return whether to fetch the snapshots now, and count that as a refresh.

        Without NATS there is no event to wait for, and resources in progress without jobs are polled.
        """
        now = _now()
        if now < self._refresh_after:
            return False
        is_due = self._check_at is not None and (now >= self._check_at or not is_live)
        if is_due and ((self._is_confirmed and self._match_jobs()) or self._refreshes == MAX_REFRESHES):
            self._check_at = None
            is_due = False
        if not is_due and (is_live or self.source.job_kinds or not self.is_in_progress):
            return False
        self._refresh_after = now + self.source.refresh_seconds
        self._refreshes += is_due
        return True

    def _match_jobs(self) -> bool:
        """Return whether each resource with a known job is in progress exactly while that job is unfinished."""
        if not self.source.job_kinds or self._jobs is None:
            return True
        job_ids = [self.source.job_id(snapshot) for snapshot in self._latest.values()]
        if not job_ids or self._newest_job > max(job_ids):
            return False
        jobs = map(self._jobs.get, job_ids)
        return all(
            job is None or self.source.is_in_progress(snapshot) == (views.job_state(job) not in views.FINISHED)
            for snapshot, job in zip(self._latest.values(), jobs, strict=True)
        )


def _now() -> float:
    return asyncio.get_running_loop().time()
