"""The jobs service as workers and submitters call it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, Unpack

import grpc
from google.protobuf.message import Message

from chassis import batching, errors, tls, values
from chassis.rpc import client
from repruv.jobs.v1 import job_pb2, jobs_service_pb2, jobs_service_pb2_grpc, kind_pb2
from worker._api import jobs, kinds, outcomes
from worker._api.jobs import AttemptKey

SERVICE = "repruv.jobs.v1.JobsService"
IDEMPOTENT = (
    "SubmitJob",
    "SubmitJobs",
    "GetJob",
    "ListJobs",
    "RegisterKinds",
    "HeartbeatJobs",
    "ReportProgress",
    "FinishJob",
    "FinishJobs",
    "SaveCheckpoint",
    "GetCheckpoints",
)
TIMEOUT = 3.0
SUBMIT_TIMEOUT = 1.0
GET_TIMEOUT = 0.4
"""Less than the gateway waits for an answer that includes the job."""
MAX_CLAIMS = 100
"""Jobs that one call can claim."""
MAX_BEATS = 1_000
"""Leases that one call can renew."""
PAGE = 100

P = TypeVar("P")
FINISHES_APART_SECONDS = 0.01
"""A job that has ended is told at once; those that end within so short a time after it, together."""
M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeartbeatResult:
    """The answer to a heartbeat."""

    cancelling: Sequence[AttemptKey]
    lost: Sequence[AttemptKey]


def channel(target: str, certificate: tls.Certificate | None = None) -> grpc.aio.Channel:
    """Open a channel to the jobs service, for a worker or for whoever submits jobs."""
    return client.channel(target, service=SERVICE, idempotent=IDEMPOTENT, certificate=certificate)


class JobsClient:
    """The jobs service as a worker sees it. Errors are those of `chassis.errors`.

    Submits that are made at the same time share one call, and so do the ends of attempts.
    """

    def __init__(self, channel: grpc.aio.Channel, call: client.Caller) -> None:
        self._stub = jobs_service_pb2_grpc.JobsServiceStub(channel)
        self._call = call
        self._submits = batching.Batcher(self._submit_all, size=_size)
        self._finishes = batching.Batcher(self._finish_all, size=_size, min_interval=FINISHES_APART_SECONDS)

    async def submit(
        self, kind: kinds.Kind[P] | str, payload: P | Mapping[str, Any], **options: Unpack[jobs.JobOptions]
    ) -> jobs.SubmittedJob:
        """Submit a job; returns when it is stored. The same `job_id` again is no error.

        Raises `Unavailable` when no answer came within 3 s: the job may be stored, so submit it again with the same id.
        Other errors are those of SubmitJob in the protos, `AlreadyExists` `unique_key_taken` for example.
        """
        return await self._submits(_bounded(jobs.new_job(kind, payload, **options), "payload"))

    async def submit_request(self, request: jobs_service_pb2.SubmitJobRequest) -> job_pb2.Job:
        """Submit a job within 1 s, for callers that repeat it later. The same `job_id` again is no error."""
        response = await self._ask_briefly(self._stub.SubmitJob, request, SUBMIT_TIMEOUT)
        job: job_pb2.Job = response.job
        return job

    async def get(self, job_id: str) -> job_pb2.Job | None:
        """Return a job, or None when the jobs service has none of this id. Takes 0.4 s at most."""
        request = jobs_service_pb2.GetJobRequest(job_id=job_id)
        try:
            job: job_pb2.Job = (await self._ask_briefly(self._stub.GetJob, request, GET_TIMEOUT)).job
        except errors.NotFound:
            return None
        return job

    async def submit_many(self, new: Iterable[jobs.NewJob]) -> list[jobs.SubmittedJob | errors.Error]:
        """Submit jobs made by `new_job`, however many; gives for each, in order, what became of it.

        Raises `Unavailable` like `submit`: some may be stored, so submit the same list again.
        """
        found: list[jobs.SubmittedJob | errors.Error] = []
        for batch in batching.batches([_bounded(one, "payload") for one in new], size=_size):
            found += await self._submit_all(batch)
        return found

    async def list_children(self, job_id: str) -> list[jobs.Child]:
        """List the children of a job, oldest first."""
        found: list[jobs.Child] = []
        request = jobs_service_pb2.ListJobsRequest(parent_id=job_id, page_size=PAGE)
        while True:
            page = await self._ask(self._stub.ListJobs, request)
            found += map(jobs.child, page.jobs)
            if not page.next_page_token:
                return found[::-1]
            request.page_token = page.next_page_token

    async def declare(
        self,
        worker: str,
        declared: Iterable[kind_pb2.KindDeclaration],
        schedules: Iterable[kind_pb2.ScheduleDeclaration],
    ) -> None:
        """Say what a worker serves."""
        request = jobs_service_pb2.RegisterKindsRequest(worker=worker, kinds=declared, schedules=schedules)
        await self._ask(self._stub.RegisterKinds, request)

    async def claim(
        self, worker: str, kinds: Iterable[str], limit: int, *, wait: float = 0.0
    ) -> tuple[list[job_pb2.Job], float]:
        """Claim at most `limit` jobs, and at most `MAX_CLAIMS`; gives them and how long a lease lasts, in seconds.

        While there is none it waits for one in the service, for `wait` seconds (at most 20). Cancelled, it claims nothing.
        """
        request = jobs_service_pb2.ClaimJobsRequest(worker=worker, kinds=kinds, max_jobs=min(limit, MAX_CLAIMS))
        request.wait.FromTimedelta(timedelta(seconds=wait))
        response = await self._call(self._stub.ClaimJobs, request, timeout=TIMEOUT + wait, user_token="")
        return list(response.jobs), response.lease.ToTimedelta().total_seconds()

    async def heartbeat(self, worker: str, held: Iterable[AttemptKey], *, timeout: float) -> HeartbeatResult:
        """Renew at most `MAX_BEATS` leases."""
        request = jobs_service_pb2.HeartbeatJobsRequest(worker=worker, attempts=map(_attempt, held))
        response = await self._call(self._stub.HeartbeatJobs, request, timeout=timeout, user_token="")
        return HeartbeatResult(
            cancelling=[(one.job_id, one.attempt) for one in response.cancelling],
            lost=[(one.job_id, one.attempt) for one in response.lost],
        )

    async def report_progress(self, held: AttemptKey, progress: jobs.Progress) -> None:
        """Report progress. Raises `Aborted` for a stale attempt."""
        message = job_pb2.JobProgress(done=progress.done, total=progress.total, message=progress.message)
        request = jobs_service_pb2.ReportProgressRequest(attempt=_attempt(held), progress=message)
        await self._ask(self._stub.ReportProgress, request)

    async def finish(self, held: AttemptKey, outcome: outcomes.Finish) -> None:
        """End an attempt. Raises `Aborted` for a stale attempt, `InvalidArgument` for an outcome that cannot be stored."""
        outcome.attempt.job_id, outcome.attempt.attempt = held
        await self._finishes(_bounded(outcome, "result"))

    async def save_checkpoint(self, held: AttemptKey, name: str, value: Any) -> None:
        """Keep a JSON value. Raises `Aborted` for a stale attempt, `InvalidArgument`, `ResourceExhausted`."""
        request = jobs_service_pb2.SaveCheckpointRequest(
            attempt=_attempt(held), name=name, value=values.to_value(value)
        )
        await self._ask(self._stub.SaveCheckpoint, _bounded(request, "value"))

    async def get_checkpoints(self, held: AttemptKey) -> dict[str, Any]:
        """Give what earlier attempts have kept. Raises `Aborted` for a stale attempt."""
        request = jobs_service_pb2.GetCheckpointsRequest(attempt=_attempt(held))
        response = await self._ask(self._stub.GetCheckpoints, request)
        return {name: values.from_value(value) for name, value in response.values.items()}

    async def _submit_all(self, new: list[jobs.NewJob]) -> list[jobs.SubmittedJob | errors.Error]:
        response = await self._ask(self._stub.SubmitJobs, jobs_service_pb2.SubmitJobsRequest(jobs=new))
        return [
            errors.from_payload(one.error) if one.HasField("error") else jobs.submitted(one.submitted)
            for one in response.results
        ]

    async def _finish_all(self, ends: list[outcomes.Finish]) -> list[errors.Error | None]:
        request = jobs_service_pb2.FinishJobsRequest(finishes=ends)
        response = await self._ask(self._stub.FinishJobs, request)
        return [errors.from_payload(one.error) if one.HasField("error") else None for one in response.results]

    async def _ask_briefly(self, method: Any, request: Message, timeout: float) -> Any:
        return await self._call(method, request, timeout=timeout, user_token="", wait_for_ready=False)

    async def _ask(self, method: Any, request: Message) -> Any:
        return await self._call(method, request, timeout=TIMEOUT, user_token="")


def _attempt(held: AttemptKey) -> jobs_service_pb2.JobAttempt:
    return jobs_service_pb2.JobAttempt(job_id=held[0], attempt=held[1])


def _size(message: Message) -> int:
    return message.ByteSize()


def _bounded(message: M, field: str) -> M:
    """Refuse here what would break the call, and with it those of others. What is stored is bounded by the service."""
    if message.ByteSize() > batching.MAX_BYTES:
        raise errors.InvalidArgument(
            f"The {field} is larger than {batching.MAX_BYTES:,} bytes.", code="too_large", field=field
        )
    return message
