"""The client of the jobs service, for workers and for submitters."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, Unpack

import grpc
from google.protobuf.message import Message

from chassis import batching, cooperative, errors, protobuf, tls
from chassis.rpc import client
from repruv.jobs.v1 import (
    admin_service_pb2,
    admin_service_pb2_grpc,
    job_pb2,
    jobs_service_pb2,
    jobs_service_pb2_grpc,
    kind_pb2,
)
from worker._api import jobs, kinds, outcomes
from worker._api.jobs import AttemptKey

SERVICE = jobs_service_pb2.DESCRIPTOR.services_by_name["JobsService"].full_name
TIMEOUT = 3.0
"""Deadline of a call in seconds, retries included."""
SUBMIT_TIMEOUT = 1.0
GET_TIMEOUT = 0.4
"""Less than the gateway waits for an answer that includes the job."""
ERASE_TIMEOUT = 20.0
"""For a call that searches thousands of rows."""
OWNER_ROWS_TIMEOUT = 300.0
"""For a stream of all stored rows of an owner."""
MAX_CLAIMS = 100
"""The most jobs that one call claims."""
MAX_HEARTBEATS = 1_000
"""The most leases that one call renews."""
HEDGE_SECONDS = 0.25
"""A heartbeat without an answer is sent again on another connection after this time."""
PAGE_SIZE = 100
FINISH_INTERVAL_SECONDS = 0.01
"""Seconds between two FinishJobs calls. The first outcome is sent at once; those within the interval share the next call."""

P = TypeVar("P")
M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeartbeatResult:
    """The response to a heartbeat: attempts that should stop, and attempts whose leases are lost."""

    cancelling: Sequence[AttemptKey]
    lost: Sequence[AttemptKey]


def channel(target: str, certificate: tls.Certificate | None = None, *, pings: bool = True) -> grpc.aio.Channel:
    """Open a channel to the jobs service that retries idempotent calls. `pings` find replicas that are frozen."""
    idempotent = client.idempotent_rpcs(SERVICE)
    return client.channel(target, service=SERVICE, idempotent=idempotent, certificate=certificate, pings=pings)


class JobsClient:
    """The client of the jobs service. Raises the errors of `chassis.errors`.

    Calls carry the identity of the service, not of a user. Concurrent submits share one call. So do outcomes of attempts.
    `submit_request` and `get` fail fast, because a user waits for their callers. The other calls wait up to 3 s or longer.
    """

    def __init__(self, channel: grpc.aio.Channel, call: client.Caller) -> None:
        self._stub = jobs_service_pb2_grpc.JobsServiceStub(channel)
        self._admin_stub = admin_service_pb2_grpc.AdminServiceStub(channel)
        self._call = call
        self._submits = batching.Batcher(self._submit_all, size=_size)
        self._finishes = batching.Batcher(self._finish_all, size=_size, min_interval=FINISH_INTERVAL_SECONDS)

    async def submit(
        self, kind: kinds.Kind[P] | str, payload: P | Mapping[str, Any], **options: Unpack[jobs.JobOptions]
    ) -> jobs.SubmittedJob:
        """Submit a job and return when it is stored. A repeated `job_id` is not an error.

        Raises `Unavailable` when no answer came within 3 s. The job may be stored: submit it again with the same id.
        Other errors are those of SubmitJob in the protos, for example `AlreadyExists` `unique_key_taken`.
        """
        return await self._submits(_check_size(jobs.new_job(kind, payload, **options), "payload"))

    async def submit_request(self, request: jobs_service_pb2.SubmitJobRequest) -> job_pb2.Job:
        """Submit a job within 1 s, for callers that repeat it later. A repeated `job_id` is not an error."""
        response = await self._call.hedged(
            self._stub.SubmitJob,
            request,
            timeout=SUBMIT_TIMEOUT,
            hedge_seconds=SUBMIT_TIMEOUT / 2,
            user_token="",
            wait_for_ready=False,
        )
        job: job_pb2.Job = response.job
        return job

    async def get(self, job_id: str) -> job_pb2.Job | None:
        """Return a job, or None if there is none with this id. Takes 0.4 s at most."""
        request = jobs_service_pb2.GetJobRequest(job_id=job_id)
        try:
            job: job_pb2.Job = (await self._request_once(self._stub.GetJob, request, GET_TIMEOUT)).job
        except errors.NotFound:
            return None
        return job

    async def submit_many(self, new_jobs: Iterable[jobs.NewJob]) -> list[jobs.SubmittedJob | errors.Error]:
        """Submit any number of jobs built by `new_job`. Return the result of each, in order.

        Raises `Unavailable` like `submit`. Some jobs may be stored: submit the same list again.
        """
        results: list[jobs.SubmittedJob | errors.Error] = []
        for batch in batching.batches([_check_size(job, "payload") for job in new_jobs], size=_size):
            results += await self._submit_all(batch)
        return results

    async def list_children(self, job_id: str) -> list[jobs.Child]:
        """Return the children of a job, oldest first."""
        children: list[jobs.Child] = []
        request = jobs_service_pb2.ListJobsRequest(parent_id=job_id, page_size=PAGE_SIZE)
        while True:
            page = await self._request(self._stub.ListJobs, request)
            children += map(jobs.child_from_proto, page.jobs)
            if not page.next_page_token:
                return children[::-1]
            request.page_token = page.next_page_token

    async def list_unsuccessful(self, kinds: Iterable[str], *, age: timedelta, pages: int) -> list[job_pb2.Job]:
        """Return failed and cancelled jobs that were submitted within `age`, the newest first, without their payloads.

        At most `pages` of `PAGE_SIZE`.
        """
        job_filter = admin_service_pb2.JobFilter(
            states=[job_pb2.JOB_STATE_FAILED, job_pb2.JOB_STATE_CANCELLED], kinds=kinds
        )
        job_filter.create_time_from.FromDatetime(datetime.now(UTC) - age)
        request = admin_service_pb2.SearchJobsRequest(filter=job_filter, page_size=PAGE_SIZE)
        unsuccessful: list[job_pb2.Job] = []
        for _ in range(pages):
            page = await self._request(self._admin_stub.SearchJobs, request)
            unsuccessful += [row.job for row in page.rows]
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
        return unsuccessful

    async def register_kinds(
        self,
        worker: str,
        kinds: Iterable[kind_pb2.KindRegistration],
        schedules: Iterable[kind_pb2.ScheduleRegistration],
        info: kind_pb2.WorkerInfo | None = None,
    ) -> None:
        """Register the kinds and schedules of a worker, and what operators see about it."""
        request = jobs_service_pb2.RegisterKindsRequest(worker=worker, kinds=kinds, schedules=schedules, info=info)
        await self._request(self._stub.RegisterKinds, request)

    async def claim(
        self, worker: str, kinds: Iterable[str], limit: int, *, wait: float = 0.0
    ) -> tuple[list[job_pb2.Job], float]:
        """Claim up to `limit` jobs, `MAX_CLAIMS` at most. Return them and the duration of a lease in seconds.

        The service holds the call until a job is ready, for up to `wait` seconds (at most 20). It hands back what a cancelled
        call has claimed.
        """
        request = jobs_service_pb2.ClaimJobsRequest(worker=worker, kinds=kinds, max_jobs=min(limit, MAX_CLAIMS))
        request.wait.FromTimedelta(timedelta(seconds=wait))
        response = await self._call(self._stub.ClaimJobs, request, timeout=TIMEOUT + wait, user_token="")
        return list(response.jobs), response.lease.ToTimedelta().total_seconds()

    async def heartbeat(self, worker: str, keys: Iterable[AttemptKey], *, timeout: float) -> HeartbeatResult:
        """Renew leases, `MAX_HEARTBEATS` at most. If a replica does not answer, another one is asked."""
        request = jobs_service_pb2.HeartbeatJobsRequest(worker=worker, attempts=map(_attempt, keys))
        response = await self._call.hedged(
            self._stub.HeartbeatJobs, request, timeout=timeout, hedge_seconds=HEDGE_SECONDS, user_token=""
        )
        return HeartbeatResult(
            cancelling=[(attempt.job_id, attempt.attempt) for attempt in response.cancelling],
            lost=[(attempt.job_id, attempt.attempt) for attempt in response.lost],
        )

    async def report_progress(
        self, key: AttemptKey, progress: job_pb2.JobProgress | None, lines: Sequence[job_pb2.LogLine] = ()
    ) -> None:
        """Report progress, log lines, or both. Raises `Aborted` for a superseded attempt."""
        request = jobs_service_pb2.ReportProgressRequest(attempt=_attempt(key), progress=progress, lines=lines)
        await self._request(self._stub.ReportProgress, request)

    async def finish(self, key: AttemptKey, outcome: outcomes.Finish) -> None:
        """End an attempt. Raises `Aborted` for a superseded attempt, `InvalidArgument` for an outcome that cannot be stored."""
        outcome.attempt.job_id, outcome.attempt.attempt = key
        await self._finishes(_check_size(outcome, "result"))

    async def save_checkpoint(
        self, key: AttemptKey, name: str, value: Any, duration: timedelta | None = None, number: int = 0
    ) -> None:
        """Save a JSON value. Raises `Aborted` for a superseded attempt, `InvalidArgument`, `ResourceExhausted`."""
        request = jobs_service_pb2.SaveCheckpointRequest(
            attempt=_attempt(key),
            name=name,
            value=protobuf.to_value(value),
            duration=protobuf.to_duration(duration),
            number=number,
        )
        await self._request(self._stub.SaveCheckpoint, _check_size(request, "value"))

    async def get_checkpoints(self, key: AttemptKey) -> dict[str, Any]:
        """Return the values that all attempts have saved. Raises `Aborted` for a superseded attempt."""
        request = jobs_service_pb2.GetCheckpointsRequest(attempt=_attempt(key))
        response = await self._request(self._stub.GetCheckpoints, request)
        values = await cooperative.convert(protobuf.from_value, response.values.values())
        return dict(zip(response.values, values, strict=True))

    async def list_notifications(
        self, owner_id: str, *, page_token: str = ""
    ) -> jobs_service_pb2.ListNotificationsResponse:
        """Return a page of an owner's unread finished jobs, the latest first, `PAGE_SIZE` at most."""
        request = jobs_service_pb2.ListNotificationsRequest(
            owner_id=owner_id, page_size=PAGE_SIZE, page_token=page_token
        )
        response: jobs_service_pb2.ListNotificationsResponse = await self._request(
            self._stub.ListNotifications, request
        )
        return response

    async def erase_owner(
        self, owner_id: str, texts: Iterable[str], *, after_job_id: str = ""
    ) -> jobs_service_pb2.EraseOwnerResponse:
        """Erase a part of an owner's data. The response has whether nothing is left, and where the next call continues."""
        request = jobs_service_pb2.EraseOwnerRequest(owner_id=owner_id, texts=texts, after_job_id=after_job_id)
        response: jobs_service_pb2.EraseOwnerResponse = await self._call(
            self._stub.EraseOwner, request, timeout=ERASE_TIMEOUT, user_token=""
        )
        return response

    async def stream_owner_rows(self, owner_id: str) -> AsyncGenerator[jobs_service_pb2.StreamOwnerRowsResponse, None]:
        """Yield the rows that the jobs service stores of an owner, table by table. The tables that it leaves out come last."""
        request = jobs_service_pb2.StreamOwnerRowsRequest(owner_id=owner_id)
        stream = self._call.stream(self._stub.StreamOwnerRows, request, timeout=OWNER_ROWS_TIMEOUT, user_token="")
        async with aclosing(stream) as responses:
            async for response in responses:
                yield response

    async def _submit_all(self, new_jobs: list[jobs.NewJob]) -> list[jobs.SubmittedJob | errors.Error]:
        response = await self._request(self._stub.SubmitJobs, jobs_service_pb2.SubmitJobsRequest(jobs=new_jobs))
        return [
            errors.from_payload(result.error) if result.HasField("error") else jobs.from_response(result.submitted)
            for result in response.results
        ]

    async def _finish_all(self, finishes: list[outcomes.Finish]) -> list[errors.Error | None]:
        request = jobs_service_pb2.FinishJobsRequest(finishes=finishes)
        response = await self._request(self._stub.FinishJobs, request)
        return [errors.from_payload(result.error) if result.HasField("error") else None for result in response.results]

    async def _request_once(self, method: Any, request: Message, timeout: float) -> Any:
        return await self._call(method, request, timeout=timeout, user_token="", wait_for_ready=False)

    async def _request(self, method: Any, request: Message) -> Any:
        return await self._call(method, request, timeout=TIMEOUT, user_token="")


def _attempt(key: AttemptKey) -> jobs_service_pb2.JobAttempt:
    return jobs_service_pb2.JobAttempt(job_id=key[0], attempt=key[1])


def _size(message: Message) -> int:
    return message.ByteSize()


def _check_size(message: M, field: str) -> M:
    """Raise `InvalidArgument` for a message larger than a call. It would fail the others in its batch."""
    if message.ByteSize() > batching.MAX_BYTES:
        raise errors.InvalidArgument(
            f"The {field} is larger than {batching.MAX_BYTES:,} bytes.", code="too_large", field=field
        )
    return message
