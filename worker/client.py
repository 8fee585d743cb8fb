"""The four calls by which a worker lives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.struct_pb2 import Struct

from chassis.rpc import client
from repruv.jobs.v1 import job_pb2, jobs_service_pb2, jobs_service_pb2_grpc
from worker.context import Progress

SERVICE = "repruv.jobs.v1.JobsService"
IDEMPOTENT = ("SubmitJob", "GetJob", "HeartbeatJobs", "ReportProgress", "FinishJob")
TIMEOUT = 3.0

Held = tuple[str, int]
"""(job_id, attempt): the fencing token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """The answer to a heartbeat."""

    cancelling: Sequence[Held]
    lost: Sequence[Held]


def channel(target: str) -> grpc.aio.Channel:
    """Open a channel to the jobs service, for a worker or for whoever submits jobs."""
    return client.channel(target, service=SERVICE, idempotent=IDEMPOTENT)


class JobsClient:
    """The jobs service as a worker sees it. Errors are those of `chassis.errors`."""

    def __init__(self, channel: grpc.aio.Channel, call: client.Caller) -> None:
        self._stub = jobs_service_pb2_grpc.JobsServiceStub(channel)
        self._call = call

    async def claim(self, worker: str, kinds: Iterable[str], limit: int) -> tuple[list[job_pb2.Job], float]:
        """Claim jobs; gives them and how long a lease lasts, in seconds."""
        request = jobs_service_pb2.ClaimJobsRequest(worker=worker, kinds=kinds, max_jobs=min(limit, 100))
        response = await self._call(self._stub.ClaimJobs, request, timeout=TIMEOUT, user_token="")
        return list(response.jobs), response.lease.ToTimedelta().total_seconds()

    async def heartbeat(self, worker: str, held: Iterable[Held], *, timeout: float) -> Beat:
        """Renew leases."""
        request = jobs_service_pb2.HeartbeatJobsRequest(worker=worker, attempts=map(_attempt, held))
        response = await self._call(self._stub.HeartbeatJobs, request, timeout=timeout, user_token="")
        return Beat(
            cancelling=[(one.job_id, one.attempt) for one in response.cancelling],
            lost=[(one.job_id, one.attempt) for one in response.lost],
        )

    async def report_progress(self, held: Held, progress: Progress) -> None:
        """Report progress. Raises `Aborted` for a stale attempt."""
        message = job_pb2.JobProgress(done=progress.done, total=progress.total, message=progress.message)
        request = jobs_service_pb2.ReportProgressRequest(attempt=_attempt(held), progress=message)
        await self._call(self._stub.ReportProgress, request, timeout=TIMEOUT, user_token="")

    async def complete(self, held: Held, result: Mapping[str, Any]) -> None:
        """End an attempt whose work is done. This and the calls below raise `Aborted` for a stale attempt."""
        struct = Struct()
        struct.update(result)
        await self._finish(held, completed=jobs_service_pb2.FinishJobRequest.Completed(result=struct))

    async def fail(self, held: Held, *, code: str, message: str, retryable: bool) -> None:
        """End an attempt with an error."""
        error = job_pb2.JobError(code=code, message=message)
        await self._finish(held, failed=jobs_service_pb2.FinishJobRequest.Failed(error=error, retryable=retryable))

    async def cancel(self, held: Held, reason: str) -> None:
        """End an attempt that stopped."""
        await self._finish(held, cancelled=jobs_service_pb2.FinishJobRequest.Cancelled(reason=reason))

    async def release(self, held: Held) -> None:
        """Hand a job back unfinished."""
        await self._finish(held, released=jobs_service_pb2.FinishJobRequest.Released())

    async def _finish(self, held: Held, **outcome: Any) -> None:
        request = jobs_service_pb2.FinishJobRequest(attempt=_attempt(held), **outcome)
        await self._call(self._stub.FinishJob, request, timeout=TIMEOUT, user_token="")


def _attempt(held: Held) -> jobs_service_pb2.JobAttempt:
    return jobs_service_pb2.JobAttempt(job_id=held[0], attempt=held[1])
