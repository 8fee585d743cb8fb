"""The command `search`: everything with an id, a name or an error text."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

from chassis import errors, ids, tracing
from repruv.jobs.v1 import admin_service_pb2 as messages
from repruv.jobs.v1 import job_pb2, jobs_service_pb2
from services.jobs.admin import arguments, tables
from services.jobs.admin.connection import Connection

JOBS = 10
MAX_PAGE = 100
AROUND_REQUEST = timedelta(seconds=10)
"""Jobs submitted within this time of a request may be its jobs."""
_TRACE_ID = re.compile(r"[0-9a-f]{32}")
_ADDRESS = re.compile(r"[^\s@]+@[^\s@]+\.[^\s@]+")

Hit = tuple[str, str, str]
"""Type, name or id, and facts."""


async def search(jobs: Connection, args: argparse.Namespace) -> int:
    """Print the hits; exit with 1 if there are none."""
    text = args.text.strip()[:100]
    if _ADDRESS.fullmatch(text):
        raise errors.InvalidArgument(arguments.ADDRESS, field="text")
    hits = [hit async for hit in _jobs(jobs, text)] + [hit async for hit in _find_in_lists(jobs, text)]
    header = ("TYPE", "NAME", "DETAILS")
    if args.json:
        print(json.dumps([dict(zip(map(str.lower, header), hit, strict=True)) for hit in hits], ensure_ascii=False))
    else:
        tables.show(header, hits, nothing="nothing found")
    return 0 if hits else 1


async def _jobs(jobs: Connection, text: str) -> AsyncIterator[Hit]:
    try:
        job_id = str(UUID(text) if _TRACE_ID.fullmatch(text) else ids.parse(text, "text"))
    except errors.InvalidArgument:
        job_filter = messages.JobFilter(text=text)
        page = await jobs.call(jobs.admin.SearchJobs, messages.SearchJobsRequest(filter=job_filter, page_size=JOBS))
        for row in page.rows:
            yield _job(row.job)
        return
    try:
        yield _job((await jobs.call(jobs.jobs.GetJob, jobs_service_pb2.GetJobRequest(job_id=job_id))).job)
    except errors.NotFound:
        async for hit in _of_request(jobs, UUID(job_id)):
            yield hit


async def _of_request(jobs: Connection, request_id: UUID) -> AsyncIterator[Hit]:
    """Yield the jobs of a request, whose id carries its time: those of its trace, or else all of the next 10 seconds."""
    begin = ids.plausible_timestamp_of(request_id)
    if begin is None:
        return
    times = messages.JobFilter()
    times.create_time_from.FromDatetime(begin)
    times.create_time_until.FromDatetime(begin + AROUND_REQUEST)
    page = await jobs.call(jobs.admin.SearchJobs, messages.SearchJobsRequest(filter=times, page_size=MAX_PAGE))
    candidates = [row.job for row in page.rows]
    traced = [job for job in candidates if tracing.trace_id(job.spec.traceparent) == request_id.hex]
    for job in (traced or candidates)[:JOBS]:
        yield _job(job)


async def _find_in_lists(jobs: Connection, text: str) -> AsyncIterator[Hit]:
    groups = (await jobs.call(jobs.admin.ListErrorGroups, messages.ListErrorGroupsRequest())).groups
    for group in groups:
        if _any_contains(text, group.code, group.exception_type, group.place, group.fingerprint, group.message):
            yield "error", group.fingerprint or group.code, f"{group.kind} {group.count:,} failed: {group.message}"
    for kind in (await jobs.call(jobs.admin.ListKinds, messages.ListKindsRequest())).kinds:
        if _any_contains(text, kind.kind):
            yield "kind", kind.kind, f"{sum(kind.counts.values()):,} unfinished"
    for schedule in (await jobs.call(jobs.admin.ListSchedules, messages.ListSchedulesRequest())).schedules:
        if _any_contains(text, schedule.registration.name):
            yield "schedule", schedule.registration.name, f"next {tables.since(schedule, 'next_time')}"
    for worker in (await jobs.call(jobs.admin.ListWorkers, messages.ListWorkersRequest())).workers:
        if _any_contains(text, worker.worker, worker.info.host):
            yield "worker", worker.worker, f"{worker.held_count:,} jobs"


def _job(job: job_pb2.Job) -> Hit:
    return "job", job.job_id, f"{job.spec.kind} {tables.state_of(job)} {tables.error(job.error)}"


def _any_contains(text: str, *values: str) -> bool:
    return any(text.lower() in value.lower() for value in values)
