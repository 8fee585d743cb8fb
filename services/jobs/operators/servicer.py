"""gRPC in, for operators: request, operation, response. Who may see what; no SQL, no states."""

from __future__ import annotations

from typing import Any

from grpc import aio

from chassis import errors, identity, ids, paging
from repruv.jobs.v1 import admin_service_pb2, admin_service_pb2_grpc
from services.jobs.convert import job_to_proto
from services.jobs.operators import convert, kind_controls, overview
from services.jobs.schedules import convert as schedule_convert
from services.jobs.schedules import operations as schedule_operations

SERVICE = "repruv.jobs.v1.AdminService"

_OPERATORS = frozenset({"gateway", "jobs"})
CALLERS = {
    "ListKinds": _OPERATORS,
    "SetKindLimits": _OPERATORS,
    "PauseKind": _OPERATORS,
    "ResumeKind": _OPERATORS,
    "ListSchedules": _OPERATORS,
    "PauseSchedule": _OPERATORS,
    "ResumeSchedule": _OPERATORS,
    "TriggerSchedule": _OPERATORS,
    "ListStuckJobs": _OPERATORS,
    "ListWorkers": _OPERATORS,
}
"""Which services may use which rpc: the gateway for admins only, and the admin's tool, which is the jobs service itself."""

Context = aio.ServicerContext[Any, Any]


class AdminServicer(admin_service_pb2_grpc.AdminServiceServicer):
    """Serves `repruv.jobs.v1.AdminService`; the protos say what each rpc means."""

    def __init__(
        self, seen: overview.Overview, steering: kind_controls.KindControls, repeating: schedule_operations.Schedules
    ) -> None:
        self._overview = seen
        self._steering = steering
        self._schedules = repeating

    async def ListKinds(
        self, request: admin_service_pb2.ListKindsRequest, context: Context
    ) -> admin_service_pb2.ListKindsResponse:
        """See the proto."""
        _require_operator()
        kinds = await self._overview.list_kinds()
        return admin_service_pb2.ListKindsResponse(kinds=map(convert.kind_to_proto, kinds))

    async def SetKindLimits(
        self, request: admin_service_pb2.SetKindLimitsRequest, context: Context
    ) -> admin_service_pb2.SetKindLimitsResponse:
        """See the proto."""
        _require_operator()
        await self._steering.set_limits(convert.limits_from_proto(request.kind, request.limits))
        kind = await self._overview.get_kind(request.kind)
        return admin_service_pb2.SetKindLimitsResponse(kind=convert.kind_to_proto(kind))

    async def PauseKind(
        self, request: admin_service_pb2.PauseKindRequest, context: Context
    ) -> admin_service_pb2.PauseKindResponse:
        """See the proto."""
        _require_operator()
        await self._steering.pause(request.kind)
        kind = await self._overview.get_kind(request.kind)
        return admin_service_pb2.PauseKindResponse(kind=convert.kind_to_proto(kind))

    async def ResumeKind(
        self, request: admin_service_pb2.ResumeKindRequest, context: Context
    ) -> admin_service_pb2.ResumeKindResponse:
        """See the proto."""
        _require_operator()
        await self._steering.resume(request.kind)
        kind = await self._overview.get_kind(request.kind)
        return admin_service_pb2.ResumeKindResponse(kind=convert.kind_to_proto(kind))

    async def ListSchedules(
        self, request: admin_service_pb2.ListSchedulesRequest, context: Context
    ) -> admin_service_pb2.ListSchedulesResponse:
        """See the proto."""
        _require_operator()
        found = await self._schedules.list_all()
        return admin_service_pb2.ListSchedulesResponse(schedules=map(schedule_convert.schedule_to_proto, found))

    async def PauseSchedule(
        self, request: admin_service_pb2.PauseScheduleRequest, context: Context
    ) -> admin_service_pb2.PauseScheduleResponse:
        """See the proto."""
        _require_operator()
        schedule = await self._schedules.pause(request.name)
        return admin_service_pb2.PauseScheduleResponse(schedule=schedule_convert.schedule_to_proto(schedule))

    async def ResumeSchedule(
        self, request: admin_service_pb2.ResumeScheduleRequest, context: Context
    ) -> admin_service_pb2.ResumeScheduleResponse:
        """See the proto."""
        _require_operator()
        schedule = await self._schedules.resume(request.name)
        return admin_service_pb2.ResumeScheduleResponse(schedule=schedule_convert.schedule_to_proto(schedule))

    async def TriggerSchedule(
        self, request: admin_service_pb2.TriggerScheduleRequest, context: Context
    ) -> admin_service_pb2.TriggerScheduleResponse:
        """See the proto."""
        _require_operator()
        job = await self._schedules.trigger(request.name, ids.parse(request.job_id, "job_id"))
        return admin_service_pb2.TriggerScheduleResponse(job=job_to_proto(job))

    async def ListStuckJobs(
        self, request: admin_service_pb2.ListStuckJobsRequest, context: Context
    ) -> admin_service_pb2.ListStuckJobsResponse:
        """See the proto."""
        _require_operator()
        stuck = await self._overview.list_stuck(limit=paging.size(request.page_size))
        return admin_service_pb2.ListStuckJobsResponse(jobs=map(convert.stuck_to_proto, stuck))

    async def ListWorkers(
        self, request: admin_service_pb2.ListWorkersRequest, context: Context
    ) -> admin_service_pb2.ListWorkersResponse:
        """See the proto."""
        _require_operator()
        workers = await self._overview.list_workers()
        return admin_service_pb2.ListWorkersResponse(workers=map(convert.worker_to_proto, workers))


def _require_operator() -> None:
    """Refuse users who are no admins; the gateway speaks for users only."""
    caller = identity.caller()
    user = caller.require_user() if caller.service == "gateway" else caller.user
    if user and not user.is_admin:
        raise errors.PermissionDenied("Only admins may do that.", code="admin_required")
