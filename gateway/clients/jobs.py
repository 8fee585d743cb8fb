"""Jobs, their events and notifications."""

from __future__ import annotations

from collections.abc import Sequence

from chassis import errors
from gateway.clients import service
from repruv.jobs.v1 import jobs_service_pb2 as pb
from repruv.jobs.v1 import jobs_service_pb2_grpc


class Jobs(service.Client):
    descriptor = pb.DESCRIPTOR.services_by_name["JobsService"]

    def __init__(self, peer: service.Peer) -> None:
        super().__init__(peer)
        stub = jobs_service_pb2_grpc.JobsServiceStub(peer.channel)
        self.get_job = self.rpc(stub.GetJob, pb.GetJobRequest)
        self.list_jobs = self.rpc(stub.ListJobs, pb.ListJobsRequest)
        self.get_job_history = self.rpc(stub.GetJobHistory, pb.GetJobHistoryRequest)
        self.cancel_job = self.rpc(stub.CancelJob, pb.CancelJobRequest)
        self.retry_job = self.rpc(stub.RetryJob, pb.RetryJobRequest)
        self.list_notifications = self.rpc(stub.ListNotifications, pb.ListNotificationsRequest)
        self.mark_notifications_read = self.rpc(stub.MarkNotificationsRead, pb.MarkNotificationsReadRequest)
        self._stub = stub

    async def list_events(
        self, cursors: Sequence[tuple[str, int]]
    ) -> Sequence[pb.ListJobEventsResponse | errors.Error]:
        """Return the events after each cursor (owner, sequence; up to 500), or of as many cursors as fit into the response.

        The result of a cursor whose sequence is not stored is `OutOfRange`.
        """
        request = pb.BatchListJobEventsRequest()
        for owner_id, after in cursors:
            request.cursors.add(owner_id=owner_id, after_sequence=after)
        response = await self.call(self._stub.BatchListJobEvents, request, "")
        return [
            errors.from_payload(result.error) if result.HasField("error") else result.page
            for result in response.results
        ]

    async def batch_get_event_positions(self, owner_ids: Sequence[str], *, quick: bool = False) -> dict[str, int]:
        """Return the newest sequence of each of up to 10,000 owners; 0 for those without events."""
        request = pb.BatchGetEventPositionsRequest(owner_ids=owner_ids)
        positions = (await self.call(self._stub.BatchGetEventPositions, request, "", quick=quick)).latest_sequences
        return {owner_id: positions.get(owner_id, 0) for owner_id in owner_ids}
