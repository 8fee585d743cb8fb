"""Jobs: their transitions, numbered in one sequence per owner, and the progress between them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gateway import clients, views
from gateway.stream import frames
from gateway.stream.sources.source import Source
from repruv.jobs.v1 import job_events_pb2, job_pb2, jobs_service_pb2

UNFINISHED = (
    job_pb2.JOB_STATE_SCHEDULED,
    job_pb2.JOB_STATE_PENDING,
    job_pb2.JOB_STATE_RUNNING,
    job_pb2.JOB_STATE_RETRYING,
    job_pb2.JOB_STATE_CANCELLING,
)
HELD = (job_pb2.JOB_STATE_RUNNING, job_pb2.JOB_STATE_CANCELLING)
MAX_UNFINISHED = 100
MAX_HELD = 20


class Jobs(Source[job_pb2.Job]):
    """The jobs of an owner. Gaps in the sequence show missed transitions, so nothing else invalidates the snapshots."""

    event = "job"
    subject = "jobs.progress"
    transitions_subject = "jobs.live_events"

    def __init__(self, jobs: clients.Jobs) -> None:
        self._jobs = jobs

    def parse(self, payload: bytes) -> job_pb2.Job:
        """Return the running job whose progress a message reports."""
        return job_events_pb2.JobProgressed.FromString(payload).job

    def parse_transitions(self, payload: bytes) -> Iterable[job_events_pb2.JobEvent]:
        """Return the transitions in a message; each names its owner."""
        return job_events_pb2.JobEvents.FromString(payload).events

    async def fetch_unfinished(self, owner_id: str, identity: str) -> Sequence[job_pb2.Job]:
        """Fetch the newest 100 unfinished jobs of an owner, as the user of `identity`. Raises `errors.Error`."""
        request = jobs_service_pb2.ListJobsRequest(owner_id=owner_id, states=UNFINISHED, page_size=MAX_UNFINISHED)
        return (await self._jobs.list_jobs.send(identity, request)).jobs

    async def fetch_progress(self, owner_id: str) -> Sequence[job_pb2.Job]:
        """Fetch the newest 20 jobs of an owner that workers hold. Raises `errors.Error`."""
        request = jobs_service_pb2.ListJobsRequest(owner_id=owner_id, states=HELD, page_size=MAX_HELD)
        return (await self._jobs.list_jobs.send("", request)).jobs

    def key(self, snapshot: job_pb2.Job) -> str:
        return snapshot.job_id

    def is_in_progress(self, snapshot: job_pb2.Job) -> bool:
        """Return whether a worker holds the job."""
        return snapshot.state in HELD

    def frame(self, snapshot: job_pb2.Job, job: job_pb2.Job | None = None, *, sequence: int = 0) -> frames.Frame:
        """Return the frame of a job; a transition has a sequence, the cursor after it."""
        data = views.job(snapshot)
        return frames.Frame(
            event=self.event,
            data=frames.encode(self.event, data, sequence=sequence or None),
            version=snapshot.version,
            sequence=sequence,
            job_id=snapshot.job_id,
            is_final=data["status"] in views.FINISHED,
        )
