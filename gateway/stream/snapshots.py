"""The newest snapshots of one owner's jobs and demo mode, and the suspicion that demo mode has moved on unheard.

Transitions of demo mode have no sequence that would show a missing one. But each comes with one of a demo job, which has: when
the two contradict each other for a second, demo mode is asked for.
"""

from __future__ import annotations

import asyncio

from gateway import views
from repruv.demo.v1 import demo_pb2
from repruv.jobs.v1 import job_pb2

MAX_JOBS = 64
SETTLE_SECONDS = 1.0
ASK_AGAIN_SECONDS = 2.0
MAX_ASKS = 10
_DEMO_KINDS = "demo."


class Snapshots:
    """What is known about one owner."""

    def __init__(self) -> None:
        self._jobs: dict[str, job_pb2.Job] = {}
        self._demo: demo_pb2.Demo | None = None
        self._newest_demo_job = ""
        self._is_demo_sure = False
        self._ask_at: float | None = None
        self._asks = 0

    @property
    def demo(self) -> demo_pb2.Demo | None:
        """Demo mode as it was last heard of; None when it never was."""
        return self._demo

    @property
    def has_running_job(self) -> bool:
        """Whether a job is known that a worker holds."""
        return any(views.job_state(job) in {"running", "cancelling"} for job in self._jobs.values())

    def note_job(self, job: job_pb2.Job) -> bool:
        """Remember a job; False if it was known as well or better."""
        known = self._jobs.pop(job.job_id, None)
        if known is not None and known.version >= job.version:
            self._jobs[job.job_id] = known
            return False
        self._jobs[job.job_id] = job
        while len(self._jobs) > MAX_JOBS:
            del self._jobs[next(iter(self._jobs))]
        return True

    def note_transition(self, job: job_pb2.Job) -> None:
        """Remember a job that has moved; one of demo mode puts what is known of that in doubt."""
        self.note_job(job)
        if job.spec.kind.startswith(_DEMO_KINDS):
            self._newest_demo_job = max(self._newest_demo_job, job.job_id)
            self._doubt(SETTLE_SECONDS)

    def note_demo(self, demo: demo_pb2.Demo) -> bool:
        """Remember demo mode; False if it was known as well or better."""
        if self._demo is not None and demo.version <= self._demo.version:
            return False
        self._demo = demo
        return True

    @property
    def is_demo_settled(self) -> bool:
        """Whether demo mode is known so well that nobody has to be asked: it rests, and nothing puts that in doubt."""
        is_at_rest = self._demo is not None and views.demo_state(self._demo) not in views.MOVING
        return is_at_rest and self._is_demo_sure and self._ask_at is None

    def confirm_demo(self) -> None:
        """Say that what was noted last is how demo mode stands."""
        self._is_demo_sure = True
        if self._demo_fits_its_job():
            self._ask_at = None

    def distrust_demo(self) -> None:
        """Say that transitions of demo mode may have been missed."""
        self._is_demo_sure = False
        self._doubt(0.0)

    def forget(self) -> None:
        """Start afresh: what is known may never have been."""
        self._jobs.clear()
        self._demo = None
        self._newest_demo_job = ""
        self.distrust_demo()

    def wants_demo(self, *, hears: bool = True) -> bool:
        """Whether it is time to ask how demo mode stands; puts the next time off.

        While nothing is heard there is nothing to wait for.
        """
        now = _now()
        if self._ask_at is None or (now < self._ask_at and (hears or self._asks)):
            return False
        if (self._is_demo_sure and self._demo_fits_its_job()) or self._asks == MAX_ASKS:
            self._ask_at = None
            return False
        self._ask_at = now + ASK_AGAIN_SECONDS
        self._asks += 1
        return True

    def demo_status(self) -> views.Json | None:
        """Show demo mode like GET /demo/status does; None when it was never heard of."""
        if self._demo is None:
            return None
        return views.demo_status(self._demo, self._jobs.get(self._demo.job_id))

    def _doubt(self, seconds: float) -> None:
        self._ask_at = _now() + seconds
        self._asks = 0

    def _demo_fits_its_job(self) -> bool:
        if self._demo is None or self._newest_demo_job > self._demo.job_id:
            return False
        job = self._jobs.get(self._demo.job_id)
        is_moving = views.demo_state(self._demo) in views.MOVING
        return job is None or is_moving == (views.job_state(job) not in views.FINISHED)


def _now() -> float:
    return asyncio.get_running_loop().time()
