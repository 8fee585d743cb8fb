"""The job engine, for admins."""

from __future__ import annotations

from gateway.clients import service
from repruv.jobs.v1 import admin_service_pb2 as pb
from repruv.jobs.v1 import admin_service_pb2_grpc


class Engine(service.Client):
    """The administration of the jobs service."""

    descriptor = pb.DESCRIPTOR.services_by_name["AdminService"]

    def __init__(self, peer: service.Peer) -> None:
        super().__init__(peer)
        stub = admin_service_pb2_grpc.AdminServiceStub(peer.channel)
        self.search_jobs = self.rpc(stub.SearchJobs, pb.SearchJobsRequest)
        self.count_jobs = self.rpc(stub.CountJobs, pb.CountJobsRequest)
        self.hold_job = self.rpc(stub.HoldJob, pb.HoldJobRequest)
        self.release_job = self.rpc(stub.ReleaseJob, pb.ReleaseJobRequest)
        self.change_jobs = self.rpc(stub.ChangeJobs, pb.ChangeJobsRequest)
        self.get_rates = self.rpc(stub.GetRates, pb.GetRatesRequest)
        self.list_problems = self.rpc(stub.ListProblems, pb.ListProblemsRequest)
        self.list_error_groups = self.rpc(stub.ListErrorGroups, pb.ListErrorGroupsRequest)
        self.list_kinds = self.rpc(stub.ListKinds, pb.ListKindsRequest)
        self.get_kind = self.rpc(stub.GetKind, pb.GetKindRequest)
        self.run_job = self.rpc(stub.RunJob, pb.RunJobRequest)
        self.get_schedule = self.rpc(stub.GetSchedule, pb.GetScheduleRequest)
        self.set_schedule = self.rpc(stub.SetSchedule, pb.SetScheduleRequest)
        self.delete_schedule = self.rpc(stub.DeleteSchedule, pb.DeleteScheduleRequest)
        self.set_kind_limits = self.rpc(stub.SetKindLimits, pb.SetKindLimitsRequest)
        self.pause_kind = self.rpc(stub.PauseKind, pb.PauseKindRequest)
        self.resume_kind = self.rpc(stub.ResumeKind, pb.ResumeKindRequest)
        self.list_schedules = self.rpc(stub.ListSchedules, pb.ListSchedulesRequest)
        self.pause_schedule = self.rpc(stub.PauseSchedule, pb.PauseScheduleRequest)
        self.resume_schedule = self.rpc(stub.ResumeSchedule, pb.ResumeScheduleRequest)
        self.trigger_schedule = self.rpc(stub.TriggerSchedule, pb.TriggerScheduleRequest)
        self.list_stuck_jobs = self.rpc(stub.ListStuckJobs, pb.ListStuckJobsRequest)
        self.list_workers = self.rpc(stub.ListWorkers, pb.ListWorkersRequest)
        self.list_log_lines = self.rpc(stub.ListLogLines, pb.ListLogLinesRequest)
