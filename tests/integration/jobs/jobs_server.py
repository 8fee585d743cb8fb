"""A client of the jobs service that runs in this process."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import grpc

from chassis import identity, ids
from chassis.rpc import client
from repruv.jobs.v1 import (
    admin_service_pb2_grpc,
    job_pb2,
    jobs_service_pb2,
    jobs_service_pb2_grpc,
    kind_pb2,
)

TIMEOUT = 60.0
WORKER = "worker-of-these-tests"


class JobsApi:
    """Stubs of a jobs service, called as any service and user."""

    def __init__(self, channel: grpc.aio.Channel, signer: Callable[[str], identity.Signer]) -> None:
        self.jobs = jobs_service_pb2_grpc.JobsServiceStub(channel)
        self.admin = admin_service_pb2_grpc.AdminServiceStub(channel)
        self._signer = signer

    def user_token(self, user_id: str, role: str = "user") -> str:
        """Return a user token signed by auth."""
        user = identity.User(user_id=user_id, role=role, session_id="s")
        return self._signer("auth").user_token(user)[0]

    async def call(
        self, method: Any, request: Any, *, service: str = "demo", user: str = "", role: str = "user"
    ) -> Any:
        """Call as `service`, for the user if one is given."""
        token = self.user_token(user, role) if user else ""
        return await client.Caller(self._signer(service))(method, request, timeout=TIMEOUT, user_token=token)

    def stream(
        self, method: Any, request: Any, *, service: str = "demo", user: str = "", role: str = "user"
    ) -> AsyncGenerator[Any, None]:
        """Open a stream in the same way."""
        token = self.user_token(user, role) if user else ""
        return client.Caller(self._signer(service)).stream(method, request, user_token=token)

    async def submit(self, kind: str, owner_id: str = "", **spec: Any) -> job_pb2.Job:
        """Submit a job; without `owner_id`, for a new owner."""
        job_spec = job_pb2.JobSpec(kind=kind, owner_id=owner_id or str(uuid4()), **spec)
        request = jobs_service_pb2.SubmitJobRequest(job_id=str(ids.uuid7()), spec=job_spec)
        job: job_pb2.Job = (await self.call(self.jobs.SubmitJob, request)).job
        return job

    async def register(self, *kinds: kind_pb2.KindRegistration, worker: str = WORKER) -> None:
        """Register the kinds of a worker."""
        request = jobs_service_pb2.RegisterKindsRequest(worker=worker, kinds=kinds)
        await self.call(self.jobs.RegisterKinds, request)

    async def claim(self, kind: str, limit: int = 1) -> list[job_pb2.Job]:
        """Claim jobs."""
        request = jobs_service_pb2.ClaimJobsRequest(worker=WORKER, kinds=[kind], max_jobs=limit)
        return list((await self.call(self.jobs.ClaimJobs, request)).jobs)

    async def progress(self, job: job_pb2.Job, done: int, total: int = 10) -> None:
        """Report progress of a claimed job."""
        request = jobs_service_pb2.ReportProgressRequest(
            attempt=attempt_of(job), progress=job_pb2.JobProgress(done=done, total=total)
        )
        await self.call(self.jobs.ReportProgress, request)

    async def finish(self, job: job_pb2.Job, **outcome: Any) -> job_pb2.Job:
        """End the attempt of a claimed job, by default completed."""
        result = outcome or {"completed": jobs_service_pb2.FinishJobRequest.Completed()}
        request = jobs_service_pb2.FinishJobRequest(attempt=attempt_of(job), **result)
        ended: job_pb2.Job = (await self.call(self.jobs.FinishJob, request)).job
        return ended


def attempt_of(job: job_pb2.Job) -> jobs_service_pb2.JobAttempt:
    """Return the fencing token of a claimed job."""
    return jobs_service_pb2.JobAttempt(job_id=job.job_id, attempt=job.attempt)


def failed(code: str, *, retryable: bool = False) -> jobs_service_pb2.FinishJobRequest.Failed:
    """Return the outcome of an error."""
    error = job_pb2.JobError(code=code, message="It did not work.")
    return jobs_service_pb2.FinishJobRequest.Failed(error=error, retryable=retryable)


@asynccontextmanager
async def connect_jobs_api(target: str, signer: Callable[[str], identity.Signer]) -> AsyncGenerator[JobsApi, None]:
    """Connect to a jobs service."""
    channel = client.channel(target, service="repruv.jobs.v1.JobsService")
    yield JobsApi(channel, signer)
    await channel.close()
