"""The job engine as a whole, for admins."""

from __future__ import annotations

from collections.abc import Sequence

from chassis.rpc import client
from gateway.clients import service
from repruv.jobs.v1 import admin_service_pb2, admin_service_pb2_grpc, job_pb2, kind_pb2


class Engine(service.Client):
    """The jobs service, as admins see and steer it."""

    def __init__(self, target: str, caller: client.Caller) -> None:
        reads = ("SearchJobs", "CountJobs", "ListKinds", "ListSchedules", "ListStuckJobs", "ListWorkers")
        changes = ("SetKindLimits", "PauseKind", "ResumeKind", "PauseSchedule", "ResumeSchedule", "TriggerSchedule")
        super().__init__("jobs", target, caller, (*reads, *changes), service="Admin")
        self._stub = admin_service_pb2_grpc.AdminServiceStub(self._channel)

    async def search_jobs(
        self, request: admin_service_pb2.SearchJobsRequest, *, user: str
    ) -> admin_service_pb2.SearchJobsResponse:
        """Return a page of jobs of all owners."""
        return await self.call(self._stub.SearchJobs, request, user)

    async def count_jobs(
        self, job_filter: admin_service_pb2.JobFilter, *, user: str
    ) -> admin_service_pb2.CountJobsResponse:
        """Count the jobs that match a filter."""
        return await self.call(self._stub.CountJobs, admin_service_pb2.CountJobsRequest(filter=job_filter), user)

    async def list_kinds(self, *, user: str) -> Sequence[kind_pb2.Kind]:
        """Return all kinds, by name."""
        return (await self.call(self._stub.ListKinds, admin_service_pb2.ListKindsRequest(), user)).kinds

    async def set_kind_limits(self, kind: str, limits: kind_pb2.KindLimits, *, user: str) -> kind_pb2.Kind:
        """Replace the limits of a kind."""
        request = admin_service_pb2.SetKindLimitsRequest(kind=kind, limits=limits)
        return (await self.call(self._stub.SetKindLimits, request, user)).kind

    async def pause_kind(self, kind: str, *, user: str) -> kind_pb2.Kind:
        """Let nothing of a kind begin."""
        return (await self.call(self._stub.PauseKind, admin_service_pb2.PauseKindRequest(kind=kind), user)).kind

    async def resume_kind(self, kind: str, *, user: str) -> kind_pb2.Kind:
        """Let a kind go on."""
        return (await self.call(self._stub.ResumeKind, admin_service_pb2.ResumeKindRequest(kind=kind), user)).kind

    async def list_schedules(self, *, user: str) -> Sequence[kind_pb2.Schedule]:
        """Return all schedules, by name."""
        return (await self.call(self._stub.ListSchedules, admin_service_pb2.ListSchedulesRequest(), user)).schedules

    async def pause_schedule(self, name: str, *, user: str) -> kind_pb2.Schedule:
        """Stop a schedule."""
        request = admin_service_pb2.PauseScheduleRequest(name=name)
        return (await self.call(self._stub.PauseSchedule, request, user)).schedule

    async def resume_schedule(self, name: str, *, user: str) -> kind_pb2.Schedule:
        """Let a schedule go on."""
        request = admin_service_pb2.ResumeScheduleRequest(name=name)
        return (await self.call(self._stub.ResumeSchedule, request, user)).schedule

    async def trigger_schedule(self, name: str, job_id: str, *, user: str) -> job_pb2.Job:
        """Make a job of a schedule now; the same `job_id` makes it once."""
        request = admin_service_pb2.TriggerScheduleRequest(name=name, job_id=job_id)
        return (await self.call(self._stub.TriggerSchedule, request, user)).job

    async def list_stuck_jobs(self, page_size: int, *, user: str) -> Sequence[admin_service_pb2.StuckJob]:
        """Return jobs that need attention, the longest stuck first."""
        request = admin_service_pb2.ListStuckJobsRequest(page_size=page_size)
        return (await self.call(self._stub.ListStuckJobs, request, user)).jobs

    async def list_workers(self, *, user: str) -> Sequence[admin_service_pb2.Worker]:
        """Return the workers that were seen lately, by name."""
        return (await self.call(self._stub.ListWorkers, admin_service_pb2.ListWorkersRequest(), user)).workers
