"""What each command runs: a function, or one call."""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from google.protobuf.message import Message

from repruv.jobs.v1 import admin_service_pb2 as admin
from repruv.jobs.v1 import jobs_service_pb2
from services.jobs.admin import answers, job_commands, job_record, overview_commands, run_commands, search
from services.jobs.admin.connection import Connection
from services.jobs.admin.engine_commands import (
    set_limits,
    show_kind,
    show_kinds,
    show_schedules,
    show_stuck,
    show_workers,
)

Command = Callable[[Connection, argparse.Namespace], Awaitable[int]]


def _call(request: type[Message], show: Callable[[Any], None], part: str = "") -> Command:
    """Return a command that makes one call. The request has the arguments of the same names; `part` of the response is shown."""
    name = request.DESCRIPTOR.name.removesuffix("Request")

    async def run(jobs: Connection, args: argparse.Namespace) -> int:
        fields = {field: getattr(args, field) for field in request.DESCRIPTOR.fields_by_name if hasattr(args, field)}
        method = getattr(jobs.admin if hasattr(jobs.admin, name) else jobs.jobs, name)
        response = await jobs.call(method, request(**fields))
        return answers.output(args, getattr(response, part) if part else response, show)

    return run


COMMANDS: Mapping[str, Command] = {
    "list": job_commands.list_jobs,
    "search": search.search,
    "count": job_commands.count,
    "bulk": job_commands.change_all,
    "show": job_record.show,
    "retry": _call(jobs_service_pb2.RetryJobRequest, job_commands.show_job, "job"),
    "cancel": _call(jobs_service_pb2.CancelJobRequest, job_commands.show_job, "job"),
    "hold": _call(admin.HoldJobRequest, job_commands.show_job, "job"),
    "release": _call(admin.ReleaseJobRequest, job_commands.show_job, "job"),
    "watch": job_commands.watch,
    "run": run_commands.run,
    "replay": run_commands.replay,
    "set-schedule": run_commands.set_schedule,
    "delete-schedule": _call(admin.DeleteScheduleRequest, lambda _: print("deleted")),
    "schedule": _call(admin.GetScheduleRequest, run_commands.show_schedule),
    "overview": overview_commands.show,
    "errors": _call(admin.ListErrorGroupsRequest, overview_commands.show_errors),
    "kinds": _call(admin.ListKindsRequest, lambda response: show_kinds(*response.kinds)),
    "kind": _call(admin.GetKindRequest, show_kind),
    "limit": set_limits,
    "pause": _call(admin.PauseKindRequest, show_kinds, "kind"),
    "resume": _call(admin.ResumeKindRequest, show_kinds, "kind"),
    "schedules": _call(admin.ListSchedulesRequest, lambda response: show_schedules(*response.schedules)),
    "trigger": run_commands.trigger,
    "pause-schedule": _call(admin.PauseScheduleRequest, show_schedules, "schedule"),
    "resume-schedule": _call(admin.ResumeScheduleRequest, show_schedules, "schedule"),
    "stuck": _call(admin.ListStuckJobsRequest, show_stuck),
    "workers": _call(admin.ListWorkersRequest, show_workers),
}
