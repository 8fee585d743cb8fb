"""AdminService: converts each request, calls one operation, and converts the result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from chassis import cooperative, errors, identity, ids, paging, protobuf
from chassis.rpc.admission import Context
from repruv.jobs.v1 import admin_service_pb2 as pb
from repruv.jobs.v1 import admin_service_pb2_grpc, job_pb2, kind_pb2
from services.jobs import domain, log_lines, operations
from services.jobs.convert import MAX_PAYLOAD_BYTES, job_to_proto, json_from_proto, line_to_proto, masked_jobs
from services.jobs.operators import bulk, convert, error_groups, holds, job_search, kind_controls, overview, runs
from services.jobs.rates import reader
from services.jobs.schedules import convert as schedule_convert
from services.jobs.schedules import cron
from services.jobs.schedules import operations as schedule_operations

_SERVICE = pb.DESCRIPTOR.services_by_name["AdminService"]
SERVICE = _SERVICE.full_name
CALLERS = dict.fromkeys(_SERVICE.methods_by_name, frozenset({"gateway", "jobs"})) | {
    "SearchJobs": frozenset({"gateway", "jobs", "auth", "demo"})
}
"""Services allowed to call each rpc: the gateway on behalf of admins, and the admin command line, which signs as jobs. Services
with lifecycles search their jobs that failed or were cancelled. Users must be admins: `access.require_operator`."""


@dataclass(frozen=True, eq=False)
class AdminServicer(admin_service_pb2_grpc.AdminServiceServicer):
    """Implements `repruv.jobs.v1.AdminService`; the protos document each rpc."""

    search: job_search.JobSearch
    holds: holds.Holds
    changes: bulk.Bulk
    groups: error_groups.ErrorGroups
    rates: reader.Reader
    engine_overview: overview.Overview
    controls: kind_controls.KindControls
    schedules: schedule_operations.Schedules
    jobs: operations.Operations
    operator_runs: runs.Runs

    async def SearchJobs(self, request: pb.SearchJobsRequest, context: Context) -> pb.SearchJobsResponse:
        page = await self.search.page(
            convert.filter_from_proto(request.filter),
            order=convert.ORDERS.from_proto(request.order),
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return pb.SearchJobsResponse(
            rows=await cooperative.convert(convert.row_to_proto, page.rows),
            next_page_token=page.next_page_token,
            previous_page_token=page.previous_page_token,
        )

    async def CountJobs(self, request: pb.CountJobsRequest, context: Context) -> pb.CountJobsResponse:
        return convert.count_to_proto(await self.search.count(convert.filter_from_proto(request.filter)))

    async def HoldJob(self, request: pb.HoldJobRequest, context: Context) -> pb.HoldJobResponse:
        job = await self.holds.hold(ids.parse(request.job_id, "job_id"), actor_id=_actor_id())
        return pb.HoldJobResponse(job=await self._to_proto(job))

    async def ReleaseJob(self, request: pb.ReleaseJobRequest, context: Context) -> pb.ReleaseJobResponse:
        job = await self.holds.release(ids.parse(request.job_id, "job_id"), actor_id=_actor_id())
        return pb.ReleaseJobResponse(job=await self._to_proto(job))

    async def ChangeJobs(self, request: pb.ChangeJobsRequest, context: Context) -> pb.ChangeJobsResponse:
        selected, change = convert.change_from_proto(request)
        counts = convert.count_to_proto(await self.changes.count(selected, change))
        if request.dry_run:
            return pb.ChangeJobsResponse(counts=counts)
        job = await self.changes.start(
            selected,
            change,
            per_second=request.per_second or bulk.PER_SECOND,
            job_id=ids.parse_uuid7(request.job_id, "job_id"),
            owner_id=_actor_id() or domain.SYSTEM,
        )
        return pb.ChangeJobsResponse(job=job_to_proto(job), counts=counts)

    async def GetRates(self, request: pb.GetRatesRequest, context: Context) -> pb.GetRatesResponse:
        return convert.rates_to_proto(await self.rates.read(convert.SPANS.from_proto(request.span)))

    async def ListProblems(self, request: pb.ListProblemsRequest, context: Context) -> pb.ListProblemsResponse:
        problems = await self.engine_overview.list_problems()
        return pb.ListProblemsResponse(problems=map(convert.problem_to_proto, problems))

    async def ListErrorGroups(self, request: pb.ListErrorGroupsRequest, context: Context) -> pb.ListErrorGroupsResponse:
        if request.kind:
            domain.require_kind(request.kind, "kind")
        groups = await self.groups.list_all(kind=request.kind)
        return pb.ListErrorGroupsResponse(groups=map(convert.group_to_proto, groups))

    async def ListKinds(self, request: pb.ListKindsRequest, context: Context) -> pb.ListKindsResponse:
        kinds = await self.engine_overview.list_kinds()
        return pb.ListKindsResponse(kinds=map(convert.kind_to_proto, kinds))

    async def GetKind(self, request: pb.GetKindRequest, context: Context) -> pb.GetKindResponse:
        kind_controls.require_kind(request.kind)
        kind = await self.engine_overview.get_kind(request.kind)
        changes = await self.engine_overview.list_changes(request.kind)
        return pb.GetKindResponse(kind=convert.kind_to_proto(kind), changes=map(convert.kind_change_to_proto, changes))

    async def RunJob(self, request: pb.RunJobRequest, context: Context) -> pb.RunJobResponse:
        user = identity.caller().user
        job = await self.operator_runs.run(
            ids.parse_uuid7(request.job_id, "job_id"),
            request.kind,
            json_from_proto(request.payload, "payload", MAX_PAYLOAD_BYTES),
            owner_id=ids.parse(request.owner_id or (user.user_id if user else str(domain.SYSTEM)), "owner_id"),
            run_at=protobuf.from_timestamp(request.run_at, "run_at") if request.HasField("run_at") else None,
            actor=user.user_id if user else "",
        )
        return pb.RunJobResponse(job=await self._to_proto(job))

    async def SetKindLimits(self, request: pb.SetKindLimitsRequest, context: Context) -> pb.SetKindLimitsResponse:
        limits = convert.limits_from_proto(request.kind, request.limits)
        await self.controls.set_limits(limits, actor_id=_actor_id())
        kind = await self.engine_overview.get_kind(request.kind)
        return pb.SetKindLimitsResponse(kind=convert.kind_to_proto(kind))

    async def PauseKind(self, request: pb.PauseKindRequest, context: Context) -> pb.PauseKindResponse:
        await self.controls.pause(request.kind, actor_id=_actor_id())
        kind = await self.engine_overview.get_kind(request.kind)
        return pb.PauseKindResponse(kind=convert.kind_to_proto(kind))

    async def ResumeKind(self, request: pb.ResumeKindRequest, context: Context) -> pb.ResumeKindResponse:
        await self.controls.resume(request.kind, actor_id=_actor_id())
        kind = await self.engine_overview.get_kind(request.kind)
        return pb.ResumeKindResponse(kind=convert.kind_to_proto(kind))

    async def ListSchedules(self, request: pb.ListSchedulesRequest, context: Context) -> pb.ListSchedulesResponse:
        schedules = await self.schedules.list_all()
        return pb.ListSchedulesResponse(schedules=await self._schedules_to_proto(schedules))

    async def GetSchedule(self, request: pb.GetScheduleRequest, context: Context) -> pb.GetScheduleResponse:
        return schedule_convert.details_to_proto(await self.schedules.get(request.name))

    async def SetSchedule(self, request: pb.SetScheduleRequest, context: Context) -> pb.SetScheduleResponse:
        await self.operator_runs.require_kind(request.registration.kind)
        schedule = await self.schedules.put(schedule_convert.schedule_from_proto(request.registration))
        return pb.SetScheduleResponse(
            schedule=schedule_convert.details_to_proto(await self.schedules.get(schedule.registration.name)).schedule
        )

    async def DeleteSchedule(self, request: pb.DeleteScheduleRequest, context: Context) -> pb.DeleteScheduleResponse:
        await self.schedules.delete(request.name)
        return pb.DeleteScheduleResponse()

    async def PauseSchedule(self, request: pb.PauseScheduleRequest, context: Context) -> pb.PauseScheduleResponse:
        schedule = await self.schedules.pause(request.name)
        return pb.PauseScheduleResponse(schedule=(await self._schedules_to_proto([schedule]))[0])

    async def ResumeSchedule(self, request: pb.ResumeScheduleRequest, context: Context) -> pb.ResumeScheduleResponse:
        schedule = await self.schedules.resume(request.name)
        return pb.ResumeScheduleResponse(schedule=(await self._schedules_to_proto([schedule]))[0])

    async def TriggerSchedule(self, request: pb.TriggerScheduleRequest, context: Context) -> pb.TriggerScheduleResponse:
        job = await self.schedules.trigger(request.name, ids.parse_uuid7(request.job_id, "job_id"))
        return pb.TriggerScheduleResponse(job=await self._to_proto(job))

    async def ListStuckJobs(self, request: pb.ListStuckJobsRequest, context: Context) -> pb.ListStuckJobsResponse:
        stuck = await self.engine_overview.list_stuck(limit=paging.size(request.page_size))
        jobs = await masked_jobs([item.job for item in stuck], self.jobs.kinds)
        items = list(zip(stuck, jobs, strict=True))
        return pb.ListStuckJobsResponse(
            jobs=await cooperative.convert(lambda item: convert.stuck_to_proto(*item), items)
        )

    async def ListWorkers(self, request: pb.ListWorkersRequest, context: Context) -> pb.ListWorkersResponse:
        workers = await self.engine_overview.list_workers()
        return pb.ListWorkersResponse(workers=map(convert.worker_to_proto, workers))

    async def ListLogLines(self, request: pb.ListLogLinesRequest, context: Context) -> pb.ListLogLinesResponse:
        job_id = ids.parse(request.job_id, "job_id")
        if request.page_size < 0 or request.attempt < 0:
            raise errors.InvalidArgument("page_size and attempt must not be below 0.", field="page_size")
        filters = (str(job_id), request.attempt)
        position = paging.position(request.page_token, filters=filters, length=2)
        page = await self.jobs.reports.list_log_lines(
            job_id,
            attempt=request.attempt,
            before=convert.position(position) if position else None,
            limit=min(request.page_size or log_lines.PAGE, log_lines.MAX_PAGE),
        )
        token = paging.token([str(number) for number in page.before], filters=filters) if page.before else ""
        return pb.ListLogLinesResponse(lines=map(line_to_proto, page.lines), next_page_token=token)

    async def _to_proto(self, job: domain.Job) -> job_pb2.Job:
        """Return a job with masked values of sensitive fields."""
        return job_to_proto((await masked_jobs([job], self.jobs.kinds))[0])

    async def _schedules_to_proto(self, schedules: Sequence[cron.Schedule]) -> list[kind_pb2.Schedule]:
        """Return schedules with masked values of sensitive fields."""
        kinds = await self.jobs.kinds.get({schedule.registration.kind for schedule in schedules})
        sensitive = {name: kind.sensitive for name, kind in kinds.items()}
        return [
            schedule_convert.schedule_to_proto(schedule, sensitive.get(schedule.registration.kind, ()))
            for schedule in schedules
        ]


def _actor_id() -> UUID | None:
    """Return the admin of the call; None for the command line."""
    user = identity.caller().user
    return UUID(user.user_id) if user else None
