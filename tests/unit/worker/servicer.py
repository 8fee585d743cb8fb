"""A jobs service in memory behind real gRPC, for tests of the worker without PostgreSQL and NATS."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Value

from chassis import ids, run
from repruv.jobs.v1 import job_pb2, jobs_service_pb2, jobs_service_pb2_grpc

LEASE_SECONDS = 1.0
ENDS = {"completed", "failed", "cancelled"}


@dataclass(kw_only=True)
class Fake(jobs_service_pb2_grpc.JobsServiceServicer):
    """Keeps jobs in memory; `calls` counts the rpcs, `down` names those that fail, `unavailable` those that do not answer."""

    jobs: dict[str, job_pb2.Job] = field(default_factory=dict)
    outcomes: dict[str, list[jobs_service_pb2.FinishJobRequest]] = field(default_factory=dict)
    checkpoints: dict[str, dict[str, Value]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    finishes: list[int] = field(default_factory=list)
    registrations: list[jobs_service_pb2.RegisterKindsRequest] = field(default_factory=list)
    lines: dict[str, list[job_pb2.LogLine]] = field(default_factory=dict)
    """Log lines by job, those of outcomes included."""
    beats: list[list[str]] = field(default_factory=list)
    ready: list[str] = field(default_factory=list)
    down: set[str] = field(default_factory=set)
    unavailable: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)
    cancelling: set[str] = field(default_factory=set)
    poison: set[str] = field(default_factory=set)
    """Jobs whose results cause an internal error."""
    _added: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, kind: str, payload: dict[str, Any] | None = None, *, attempt: int = 0, **fields: Any) -> str:
        """Make a job that can be claimed."""
        job = job_pb2.Job(job_id=str(ids.uuid7()), attempt=attempt, **fields)
        job.spec.kind, job.spec.owner_id = kind, str(ids.uuid7())
        job.spec.payload.update(payload or {})
        if not job.spec.HasField("attempt_timeout"):
            job.spec.attempt_timeout.FromSeconds(60)
        self.jobs[job.job_id] = job
        self.ready.append(job.job_id)
        self._added.set()
        return job.job_id

    def ended(self, job_id: str) -> jobs_service_pb2.FinishJobRequest | None:
        """Return the last outcome if it ends the job."""
        last = self.outcomes.get(job_id, [None])[-1]
        return last if last is not None and last.WhichOneof("outcome") in ENDS else None

    async def _called(self, rpc: str, context: Any) -> None:
        self.calls.append(rpc)
        if rpc in self.down:
            await context.abort(grpc.StatusCode.INTERNAL, "down")
        if rpc in self.unavailable:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "away")

    async def ClaimJobs(self, request: Any, context: Any) -> Any:
        await self._called("ClaimJobs", context)
        if not self._ready_jobs(request):
            self._added.clear()
            await run.wait(self._added, request.wait.ToTimedelta().total_seconds())
        job_ids = self._ready_jobs(request)
        for job_id in job_ids:
            self.ready.remove(job_id)
            self.jobs[job_id].attempt += 1
        lease = Duration(nanos=int(LEASE_SECONDS * 1e9) % 10**9, seconds=int(LEASE_SECONDS))
        return jobs_service_pb2.ClaimJobsResponse(jobs=[self.jobs[claimed] for claimed in job_ids], lease=lease)

    def _ready_jobs(self, request: Any) -> list[str]:
        return [ready for ready in self.ready if self.jobs[ready].spec.kind in request.kinds][: request.max_jobs]

    async def HeartbeatJobs(self, request: Any, context: Any) -> Any:
        await self._called("HeartbeatJobs", context)
        self.beats.append([attempt.job_id for attempt in request.attempts])
        return jobs_service_pb2.HeartbeatJobsResponse(
            lost=[attempt for attempt in request.attempts if attempt.job_id in self.lost],
            cancelling=[attempt for attempt in request.attempts if attempt.job_id in self.cancelling],
        )

    async def ReportProgress(self, request: Any, context: Any) -> Any:
        await self._called("ReportProgress", context)
        if request.HasField("progress"):
            self.jobs[request.attempt.job_id].progress.CopyFrom(request.progress)
        self.lines.setdefault(request.attempt.job_id, []).extend(request.lines)
        return jobs_service_pb2.ReportProgressResponse()

    async def RegisterKinds(self, request: Any, context: Any) -> Any:
        await self._called("RegisterKinds", context)
        self.registrations.append(request)
        return jobs_service_pb2.RegisterKindsResponse()

    async def FinishJobs(self, request: Any, context: Any) -> Any:
        await self._called("FinishJobs", context)
        self.finishes.append(len(request.finishes))
        return jobs_service_pb2.FinishJobsResponse(results=[self._finish(item) for item in request.finishes])

    def _finish(self, item: jobs_service_pb2.FinishJobRequest) -> jobs_service_pb2.FinishJobResult:
        job = self.jobs[item.attempt.job_id]
        if item.attempt.attempt != job.attempt:
            error = jobs_service_pb2.CallError(status="ABORTED", code="lease_lost", message="Lost.")
            return jobs_service_pb2.FinishJobResult(error=error)
        if job.job_id in self.poison and item.HasField("completed"):
            return jobs_service_pb2.FinishJobResult(
                error=jobs_service_pb2.CallError(status="INTERNAL", code="internal")
            )
        self.outcomes.setdefault(job.job_id, []).append(item)
        self.lines.setdefault(job.job_id, []).extend(item.lines)
        if item.WhichOneof("outcome") not in ENDS:
            self.ready.append(job.job_id)
            self._added.set()
        return jobs_service_pb2.FinishJobResult()

    async def SubmitJobs(self, request: Any, context: Any) -> Any:
        await self._called("SubmitJobs", context)
        return jobs_service_pb2.SubmitJobsResponse(results=[self._submit(item) for item in request.jobs])

    def _submit(self, item: jobs_service_pb2.SubmitJobRequest) -> jobs_service_pb2.SubmitJobResult:
        if item.spec.unique_key == "taken":
            error = jobs_service_pb2.CallError(
                status="ALREADY_EXISTS", code="unique_key_taken", message="Taken.", details={"job_id": "that"}
            )
            return jobs_service_pb2.SubmitJobResult(error=error)
        created = item.job_id not in self.jobs
        if created:
            self.jobs[item.job_id] = job_pb2.Job(job_id=item.job_id, spec=item.spec, state=job_pb2.JOB_STATE_PENDING)
        answer = jobs_service_pb2.SubmitJobResponse(job=self.jobs[item.job_id], created=created, has_worker=True)
        return jobs_service_pb2.SubmitJobResult(submitted=answer)

    async def SaveCheckpoint(self, request: Any, context: Any) -> Any:
        await self._called("SaveCheckpoint", context)
        if request.attempt.job_id in self.lost:
            await context.abort(grpc.StatusCode.ABORTED, "lost")
        self.checkpoints.setdefault(request.attempt.job_id, {})[request.name] = request.value
        return jobs_service_pb2.SaveCheckpointResponse()

    async def GetCheckpoints(self, request: Any, context: Any) -> Any:
        await self._called("GetCheckpoints", context)
        return jobs_service_pb2.GetCheckpointsResponse(values=self.checkpoints.get(request.attempt.job_id, {}))

    async def ListJobs(self, request: Any, context: Any) -> Any:
        await self._called("ListJobs", context)
        children = [job for job in self.jobs.values() if job.spec.parent_id == request.parent_id]
        return jobs_service_pb2.ListJobsResponse(jobs=sorted(children, key=lambda job: job.job_id, reverse=True))
