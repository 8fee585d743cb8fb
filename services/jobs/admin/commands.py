"""The function of each command."""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable, Mapping

from services.jobs.admin import engine_commands, job_commands, job_record, overview_commands, run_commands, search
from services.jobs.admin.connection import Connection

COMMANDS: Mapping[str, Callable[[Connection, argparse.Namespace], Awaitable[int]]] = {
    "list": job_commands.list_jobs,
    "search": search.search,
    "count": job_commands.count,
    "bulk": job_commands.change_all,
    "show": job_record.show,
    "retry": job_commands.retry,
    "cancel": job_commands.cancel,
    "watch": job_commands.watch,
    "run": run_commands.run,
    "replay": run_commands.replay,
    "set-schedule": run_commands.set_schedule,
    "delete-schedule": run_commands.delete_schedule,
    "schedule": run_commands.show_schedule,
    "overview": overview_commands.show,
    "errors": overview_commands.list_errors,
    "kinds": engine_commands.list_kinds,
    "limit": engine_commands.set_limits,
    "pause": engine_commands.pause,
    "resume": engine_commands.resume,
    "schedules": engine_commands.list_schedules,
    "trigger": engine_commands.trigger,
    "pause-schedule": engine_commands.pause_schedule,
    "resume-schedule": engine_commands.resume_schedule,
    "stuck": engine_commands.list_stuck,
    "workers": engine_commands.list_workers,
}
