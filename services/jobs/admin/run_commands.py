"""Commands that make jobs and schedules."""

from __future__ import annotations

import argparse
from typing import Any

from chassis import ids, protobuf
from repruv.jobs.v1 import admin_service_pb2 as messages
from repruv.jobs.v1 import jobs_service_pb2, kind_pb2
from services.jobs.admin import answers, tables
from services.jobs.admin.connection import Connection
from services.jobs.admin.job_commands import show_job


async def run(jobs: Connection, args: argparse.Namespace) -> int:
    return await _run(jobs, args, args.kind, args.payload, args.owner)


async def replay(jobs: Connection, args: argparse.Namespace) -> int:
    """Submit a job with the payload of another; sensitive fields must be set again."""
    request = jobs_service_pb2.GetJobRequest(job_id=str(ids.parse(args.job_id, "job")))
    spec = (await jobs.call(jobs.jobs.GetJob, request)).job.spec
    payload = {**protobuf.from_struct(spec.payload), **dict(args.set)}
    return await _run(jobs, args, spec.kind, payload, spec.owner_id)


async def set_schedule(jobs: Connection, args: argparse.Namespace) -> int:
    registration = kind_pb2.ScheduleRegistration(
        name=args.name,
        kind=args.kind,
        cron=args.cron,
        time_zone=args.time_zone,
        payload=protobuf.to_struct(args.payload),
        overlap=kind_pb2.Overlap.Value(f"OVERLAP_{args.overlap.upper()}"),
    )
    request = messages.SetScheduleRequest(registration=registration)
    answer = await jobs.call(jobs.admin.SetSchedule, request)
    return answers.output(args, answer.schedule, lambda schedule: print(f"next {tables.at(schedule, 'next_time')}"))


async def trigger(jobs: Connection, args: argparse.Namespace) -> int:
    """Submit a job of a schedule now."""
    request = messages.TriggerScheduleRequest(name=args.name, job_id=str(ids.uuid7()))
    answer = await jobs.call(jobs.admin.TriggerSchedule, request)
    return answers.output(args, answer.job, show_job)


async def _run(jobs: Connection, args: argparse.Namespace, kind: str, payload: dict[str, Any], owner_id: str) -> int:
    request = messages.RunJobRequest(
        job_id=str(ids.uuid7()), kind=kind, payload=protobuf.to_struct(payload), owner_id=owner_id
    )
    answer = await jobs.call(jobs.admin.RunJob, request)
    return answers.output(args, answer.job, lambda job: print(job.job_id))


def show_schedule(response: messages.GetScheduleResponse) -> None:
    schedule = response.schedule
    tables.details(
        [
            ("schedule", schedule.registration.name),
            ("kind", schedule.registration.kind),
            ("cron", f"{schedule.registration.cron} {schedule.registration.time_zone}"),
            ("payload", answers.plain(schedule.registration.payload)),
            ("paused", tables.at(schedule, "pause_time")),
            ("next", ", ".join(moment.ToJsonString() for moment in response.next_times)),
        ]
    )
    print()
    rows = [
        (
            run.time.ToJsonString(),
            tables.state(run.state) if run.job_id else tables.NOTHING,
            run.job_id or tables.NOTHING,
        )
        for run in response.runs
    ]
    tables.show(("TIME", "STATE", "JOB"), rows, nothing="no past times")
