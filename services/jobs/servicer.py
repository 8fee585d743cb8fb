"""gRPC in: request, operation, response. Who may see what; no SQL, no states."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from google.protobuf.duration_pb2 import Duration
from grpc import aio

from chassis import errors, identity, ids
from repruv.jobs.v1 import job_events_pb2, jobs_service_pb2, jobs_service_pb2_grpc
from services.jobs import convert, operations

SERVICE = "repruv.jobs.v1.JobsService"

_WORKERS = frozenset({"auth", "demo"})
_READERS = frozenset({"auth", "demo", "gateway"})
CALLERS = {
    "SubmitJob": _WORKERS,
    "GetJob": _READERS,
    "ListJobs": _READERS,
    "GetJobHistory": _READERS,
    "CancelJob": _READERS,
    "RetryJob": _READERS,
    "ListJobEvents": _READERS,
    "GetEventPositions": _READERS,
    "ClaimJobs": _WORKERS,
    "HeartbeatJobs": _WORKERS,
    "ReportProgress": _WORKERS,
    "FinishJob": _WORKERS,
}
"""Which services may use which rpc."""

Context = aio.ServicerContext[Any, Any]


class JobsServicer(jobs_service_pb2_grpc.JobsServiceServicer):
    """Serves `repruv.jobs.v1.JobsService`; the protos say what each rpc means."""

    def __init__(self, jobs: operations.Operations) -> None:
        self._jobs = jobs

    async def SubmitJob(
        self, request: jobs_service_pb2.SubmitJobRequest, context: Context
    ) -> jobs_service_pb2.SubmitJobResponse:
        """See the proto."""
        job, created = await self._jobs.submit(
            ids.parse(request.job_id, "job_id"), convert.spec_from_proto(request.spec)
        )
        return jobs_service_pb2.SubmitJobResponse(job=convert.job_to_proto(job), created=created)

    async def GetJob(
        self, request: jobs_service_pb2.GetJobRequest, context: Context
    ) -> jobs_service_pb2.GetJobResponse:
        """See the proto."""
        job = await self._jobs.get(ids.parse(request.job_id, "job_id"), owner_id=_visible_owner())
        return jobs_service_pb2.GetJobResponse(job=convert.job_to_proto(job))

    async def ListJobs(
        self, request: jobs_service_pb2.ListJobsRequest, context: Context
    ) -> jobs_service_pb2.ListJobsResponse:
        """See the proto."""
        page = await self._jobs.list_page(
            owner_id=_owner(request.owner_id),
            states={convert.state_from_proto(state) for state in request.states},
            kinds=set(request.kinds),
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return jobs_service_pb2.ListJobsResponse(
            jobs=map(convert.job_to_proto, page.jobs), next_page_token=page.next_page_token
        )

    async def GetJobHistory(
        self, request: jobs_service_pb2.GetJobHistoryRequest, context: Context
    ) -> jobs_service_pb2.GetJobHistoryResponse:
        """See the proto."""
        job_id = ids.parse(request.job_id, "job_id")
        attempts, transitions = await self._jobs.history(job_id, owner_id=_visible_owner())
        return jobs_service_pb2.GetJobHistoryResponse(
            attempts=map(convert.attempt_to_proto, attempts), transitions=map(convert.transition_to_proto, transitions)
        )

    async def CancelJob(
        self, request: jobs_service_pb2.CancelJobRequest, context: Context
    ) -> jobs_service_pb2.CancelJobResponse:
        """See the proto."""
        if len(request.reason) > 100 or "\x00" in request.reason:
            raise errors.InvalidArgument("reason must be at most 100 characters, without NUL.", field="reason")
        job_id = ids.parse(request.job_id, "job_id")
        job = await self._jobs.cancel(job_id, owner_id=_visible_owner(), reason=request.reason or "requested")
        return jobs_service_pb2.CancelJobResponse(job=convert.job_to_proto(job))

    async def RetryJob(
        self, request: jobs_service_pb2.RetryJobRequest, context: Context
    ) -> jobs_service_pb2.RetryJobResponse:
        """See the proto."""
        job = await self._jobs.retry(ids.parse(request.job_id, "job_id"), owner_id=_visible_owner())
        return jobs_service_pb2.RetryJobResponse(job=convert.job_to_proto(job))

    async def ListJobEvents(
        self, request: jobs_service_pb2.ListJobEventsRequest, context: Context
    ) -> jobs_service_pb2.ListJobEventsResponse:
        """See the proto."""
        owner_id = _owner(request.owner_id)
        if owner_id is None:
            raise errors.InvalidArgument("owner_id must be given.", field="owner_id")
        if not 0 <= request.page_size <= operations.EVENTS_PAGE:
            message = f"page_size must be between 1 and {operations.EVENTS_PAGE}."
            raise errors.InvalidArgument(message, field="page_size")
        limit = request.page_size or operations.EVENTS_PAGE
        events, latest = await self._jobs.list_events(owner_id, after=request.after_sequence, limit=limit)
        return jobs_service_pb2.ListJobEventsResponse(
            events=map(job_events_pb2.JobEvent.FromString, events), latest_sequence=latest
        )

    async def GetEventPositions(
        self, request: jobs_service_pb2.GetEventPositionsRequest, context: Context
    ) -> jobs_service_pb2.GetEventPositionsResponse:
        """See the proto."""
        if identity.caller().user:
            raise errors.PermissionDenied("Only services read positions.")
        if len(request.owner_ids) > 10_000:
            raise errors.InvalidArgument("owner_ids must be at most 10,000.", field="owner_ids")
        positions = await self._jobs.positions([ids.parse(owner_id, "owner_ids") for owner_id in request.owner_ids])
        return jobs_service_pb2.GetEventPositionsResponse(
            latest_sequences={str(owner_id): sequence for owner_id, sequence in positions.items()}
        )

    async def ClaimJobs(
        self, request: jobs_service_pb2.ClaimJobsRequest, context: Context
    ) -> jobs_service_pb2.ClaimJobsResponse:
        """See the proto."""
        if not request.kinds:
            raise errors.InvalidArgument("kinds must name at least one kind.", field="kinds")
        if not 1 <= request.max_jobs <= 100:
            raise errors.InvalidArgument("max_jobs must be between 1 and 100.", field="max_jobs")
        jobs = await self._jobs.claim(worker=_worker(request.worker), kinds=request.kinds, limit=request.max_jobs)
        lease = Duration()
        lease.FromTimedelta(self._jobs.lease)
        return jobs_service_pb2.ClaimJobsResponse(jobs=map(convert.job_to_proto, jobs), lease=lease)

    async def HeartbeatJobs(
        self, request: jobs_service_pb2.HeartbeatJobsRequest, context: Context
    ) -> jobs_service_pb2.HeartbeatJobsResponse:
        """See the proto."""
        if len(request.attempts) > 1_000:
            raise errors.InvalidArgument("attempts must be at most 1,000.", field="attempts")
        held = [_attempt(attempt) for attempt in request.attempts]
        renewed = await self._jobs.heartbeat(worker=_worker(request.worker), held=held)
        kept = {(job_id, attempt): state for job_id, attempt, state in renewed}
        response = jobs_service_pb2.HeartbeatJobsResponse()
        for attempt, key in zip(request.attempts, held, strict=True):
            (response.renewed if key in kept else response.lost).append(attempt)
            if kept.get(key) == "cancelling":
                response.cancelling.append(attempt)
        return response

    async def ReportProgress(
        self, request: jobs_service_pb2.ReportProgressRequest, context: Context
    ) -> jobs_service_pb2.ReportProgressResponse:
        """See the proto."""
        job_id, attempt = _attempt(request.attempt)
        await self._jobs.report_progress(job_id, attempt, convert.progress_from_proto(request.progress))
        return jobs_service_pb2.ReportProgressResponse()

    async def FinishJob(
        self, request: jobs_service_pb2.FinishJobRequest, context: Context
    ) -> jobs_service_pb2.FinishJobResponse:
        """See the proto."""
        job_id, attempt = _attempt(request.attempt)
        job = await self._jobs.finish(job_id, attempt, convert.outcome_from_proto(request))
        return jobs_service_pb2.FinishJobResponse(job=convert.job_to_proto(job))


def _visible_owner() -> UUID | None:
    """Give the only owner whose jobs this call may see; None for all (services for themselves, and admins)."""
    caller = identity.caller()
    if caller.service == "gateway":
        # It speaks for users: a call that forgot for whom must not see everybody's.
        caller.require_user()
    user = caller.user
    return None if user is None or user.is_admin else UUID(user.user_id)


def _owner(requested: str) -> UUID | None:
    """Give the owner whose jobs or events a list is about; the gateway may name one, to feed that owner's streams."""
    if requested and identity.caller().user is None:
        return ids.parse(requested, "owner_id")
    return _visible_owner() or (ids.parse(requested, "owner_id") if requested else None)


def _worker(name: str) -> str:
    if not 1 <= len(name) <= 100 or "\x00" in name:
        raise errors.InvalidArgument("worker must be 1 to 100 characters.", field="worker")
    return name


def _attempt(attempt: jobs_service_pb2.JobAttempt) -> tuple[UUID, int]:
    return ids.parse(attempt.job_id, "job_id"), attempt.attempt
