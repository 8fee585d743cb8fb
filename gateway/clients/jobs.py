"""Jobs, their events, and what ended unread."""

from __future__ import annotations

from collections.abc import Sequence

from chassis import errors
from chassis.rpc import client
from gateway.clients import service
from repruv.jobs.v1 import job_pb2, jobs_service_pb2, jobs_service_pb2_grpc


class Jobs(service.Client):
    """The jobs service."""

    def __init__(self, target: str, caller: client.Caller) -> None:
        reads = (
            "GetJob",
            "ListJobs",
            "GetJobHistory",
            "BatchListJobEvents",
            "BatchGetEventPositions",
            "ListNotifications",
        )
        super().__init__("jobs", target, caller, (*reads, "CancelJob", "MarkNotificationsRead"))
        self._stub = jobs_service_pb2_grpc.JobsServiceStub(self._channel)

    async def get_job(self, job_id: str, *, user: str) -> job_pb2.Job:
        """Return one job that the user may see."""
        return (await self.call(self._stub.GetJob, jobs_service_pb2.GetJobRequest(job_id=job_id), user)).job

    async def list_jobs(
        self, request: jobs_service_pb2.ListJobsRequest, *, user: str
    ) -> jobs_service_pb2.ListJobsResponse:
        """Return a page of jobs, newest first."""
        return await self.call(self._stub.ListJobs, request, user)

    async def get_job_history(self, job_id: str, *, user: str) -> jobs_service_pb2.GetJobHistoryResponse:
        """Return a job's attempts and transitions."""
        request = jobs_service_pb2.GetJobHistoryRequest(job_id=job_id)
        return await self.call(self._stub.GetJobHistory, request, user)

    async def cancel_job(self, job_id: str, *, user: str) -> job_pb2.Job:
        """Stop a job."""
        return (await self.call(self._stub.CancelJob, jobs_service_pb2.CancelJobRequest(job_id=job_id), user)).job

    async def retry_job(self, job_id: str, *, user: str) -> job_pb2.Job:
        """Reopen a failed or cancelled job."""
        return (await self.call(self._stub.RetryJob, jobs_service_pb2.RetryJobRequest(job_id=job_id), user)).job

    async def list_notifications(
        self, *, page_size: int, page_token: str, user: str, quick: bool = False
    ) -> jobs_service_pb2.ListNotificationsResponse:
        """Return a page of the jobs that ended and that the user has not read of yet, the latest first."""
        request = jobs_service_pb2.ListNotificationsRequest(page_size=page_size, page_token=page_token)
        return await self.call(self._stub.ListNotifications, request, user, quick=quick)

    async def mark_notifications_read(self, job_ids: Sequence[str], *, user: str) -> None:
        """Note that the user has read of jobs; of all that ended if none is named."""
        request = jobs_service_pb2.MarkNotificationsReadRequest(job_ids=job_ids)
        await self.call(self._stub.MarkNotificationsRead, request, user)

    async def list_events(
        self, cursors: Sequence[tuple[str, int]]
    ) -> Sequence[jobs_service_pb2.ListJobEventsResponse | errors.Error]:
        """Return the events after each cursor (owner, sequence; up to 500): of the first, as many as there is room for.

        `OutOfRange` is the answer to a sequence that is not one that is kept.
        """
        request = jobs_service_pb2.BatchListJobEventsRequest()
        for owner_id, after in cursors:
            request.cursors.add(owner_id=owner_id, after_sequence=after)
        response = await self.call(self._stub.BatchListJobEvents, request, "")
        return [
            errors.from_payload(result.error) if result.HasField("error") else result.page
            for result in response.results
        ]

    async def batch_get_event_positions(self, owner_ids: Sequence[str], *, quick: bool = False) -> dict[str, int]:
        """Return the newest sequence of each of up to 10,000 owners; 0 for those without events."""
        request = jobs_service_pb2.BatchGetEventPositionsRequest(owner_ids=owner_ids)
        positions = (await self.call(self._stub.BatchGetEventPositions, request, "", quick=quick)).latest_sequences
        return {owner_id: positions.get(owner_id, 0) for owner_id in owner_ids}
