"""Commands for jobs."""

from __future__ import annotations

import argparse
import asyncio
from contextlib import aclosing
from datetime import UTC, datetime

from chassis import errors, ids, tracing
from repruv.jobs.v1 import admin_service_pb2 as messages
from repruv.jobs.v1 import job_pb2, jobs_service_pb2
from services.jobs.admin import answers, tables
from services.jobs.admin.connection import Connection

CHANGES = {
    "retry": messages.JOB_CHANGE_RETRY_V2,
    "cancel": messages.JOB_CHANGE_CANCEL_V2,
    "hold": messages.JOB_CHANGE_HOLD,
    "release": messages.JOB_CHANGE_RELEASE,
}
MAX_PAGE = 100
WATCH_TRIES = 30
"""Attempts in a row to reopen a watch, a second apart, before the command fails."""
_FINISHED = {job_pb2.JOB_STATE_COMPLETED, job_pb2.JOB_STATE_FAILED, job_pb2.JOB_STATE_CANCELLED}


async def list_jobs(jobs: Connection, args: argparse.Namespace) -> int:
    """List jobs, page by page up to the limit."""
    response = jobs_service_pb2.ListJobsResponse()
    if args.parent:
        request = jobs_service_pb2.ListJobsRequest(parent_id=args.parent, page_size=min(MAX_PAGE, args.limit))
        response = await jobs.call(jobs.jobs.ListJobs, request)
    else:
        order = messages.JobOrder.Value(f"JOB_ORDER_{args.order.replace('-', '_').upper()}")
        search = messages.SearchJobsRequest(filter=job_filter(args), order=order)
        while True:
            search.page_size = min(MAX_PAGE, args.limit - len(response.jobs))
            page = await jobs.call(jobs.admin.SearchJobs, search)
            response.jobs.extend(row.job for row in page.rows)
            search.page_token = page.next_page_token
            if not page.next_page_token or len(response.jobs) >= args.limit:
                break
    return answers.output(args, response, _show_list)


async def count(jobs: Connection, args: argparse.Namespace) -> int:
    answer = await jobs.call(jobs.admin.CountJobs, messages.CountJobsRequest(filter=job_filter(args)))
    return answers.output(args, answer, _show_counts)


async def change_all(jobs: Connection, args: argparse.Namespace) -> int:
    """Retry, cancel, hold or release all jobs that match a filter."""
    request = messages.ChangeJobsRequest(
        filter=job_filter(args),
        change=CHANGES[args.change],
        per_second=args.per_second,
        job_id=str(ids.uuid7()),
        dry_run=args.dry_run,
    )
    answer = await jobs.call(jobs.admin.ChangeJobs, request)
    if args.dry_run:
        answers.output(args, answer.counts, _show_counts)
    else:
        answers.output(args, answer.job, show_job)
    return 0


def job_filter(args: argparse.Namespace) -> messages.JobFilter:
    """Return the filter of the command line."""
    message = messages.JobFilter(
        states=[job_pb2.JobState.Value(f"JOB_STATE_{name.upper()}") for name in args.state],
        kinds=args.kind,
        owner_id=args.owner,
        worker=args.worker,
        error_code=args.error,
        fingerprint=args.fingerprint,
        text=args.text,
        without_system=args.no_system,
        problem=args.problem,
        without_kinds=args.not_kind,
        on_hold=args.on_hold,
    )
    if args.since is not None:
        message.create_time_from.FromDatetime(datetime.now(UTC) - args.since)
    if args.ended_since is not None:
        message.finish_time_from.FromDatetime(datetime.now(UTC) - args.ended_since)
    return message


async def watch(jobs: Connection, args: argparse.Namespace) -> int:
    """Watch a job until it has ended, across restarts of the jobs service; return 0 if it completed."""
    last = job_pb2.Job(job_id=args.job_id)
    tries = 0
    while last.state not in _FINISHED:
        try:
            request = jobs_service_pb2.WatchJobRequest(job_id=args.job_id, after_version=last.version)
            async with aclosing(jobs.stream(jobs.jobs.WatchJob, request)) as snapshots:
                async for snapshot in snapshots:
                    last, tries = snapshot.job, 0
                    _show_snapshot(args, last)
        except errors.Unavailable:
            tries += 1
            if tries > WATCH_TRIES or (not last.version and tries > 1):
                raise
            await asyncio.sleep(1.0)
    if not args.json:
        tables.end_line()
    return 0 if last.state == job_pb2.JOB_STATE_COMPLETED else 1


def _show_list(response: jobs_service_pb2.ListJobsResponse) -> None:
    rows = [
        (
            job.job_id,
            job.spec.kind,
            tables.state_of(job),
            f"{job.attempt}/{job.max_attempts}",
            tables.progress(job),
            tables.since(job, "create_time"),
            job.spec.owner_id,
            tables.error(job.error),
        )
        for job in response.jobs
    ]
    header = ("JOB", "KIND", "STATE", "ATTEMPT", "PROGRESS", "SUBMITTED", "OWNER", "ERROR")
    tables.show(header, rows, nothing="no jobs")


def show_job(job: job_pb2.Job) -> None:
    children = job.children
    tables.details(
        [
            ("job", job.job_id),
            ("kind", job.spec.kind),
            ("state", tables.state_of(job)),
            ("owner", job.spec.owner_id),
            ("parent", job.spec.parent_id),
            (
                "children",
                f"{children.ended}/{children.total}, {children.unsuccessful} without success" if children.total else "",
            ),
            ("attempt", f"{job.attempt} of {job.max_attempts}, {job.errors} errors, {job.crashes} crashes"),
            ("progress", tables.progress(job)),
            ("estimate", tables.since(job.progress, "estimate_time")),
            ("submitted", tables.at(job, "create_time")),
            ("started", tables.at(job, "start_time")),
            ("next run", tables.at(job, "next_run_time")),
            ("deadline", tables.at(job, "deadline")),
            ("finished", tables.at(job, "finish_time")),
            ("unique key", job.spec.unique_key),
            ("concurrency key", job.spec.concurrency_key),
            ("trace", tracing.trace_id(job.spec.traceparent)),
            ("cancelled", job.cancel_reason),
            ("error", tables.error(job.error)),
            ("payload", answers.plain(job.spec.payload)),
            ("result", answers.plain(job.result) if job.HasField("result") else ""),
        ]
    )


def _show_counts(response: messages.CountJobsResponse) -> None:
    rows = [(group.kind, tables.state(group.state), f"{group.count:,}") for group in response.groups]
    rows.append(("all", tables.NOTHING, f"{response.count:,}{' or more' if response.has_more else ''}"))
    tables.show(("KIND", "STATE", "JOBS"), rows, nothing="no jobs")


def _show_snapshot(args: argparse.Namespace, job: job_pb2.Job) -> None:
    if args.json:
        print(answers.to_json(job), flush=True)
        return
    parts = [job.job_id, tables.state_of(job), f"attempt {job.attempt}", tables.progress(job)]
    if job.progress.HasField("estimate_time"):
        parts.append(f"done {tables.since(job.progress, 'estimate_time')}")
    if job.error.code:
        parts.append(tables.error(job.error))
    tables.replace_line("  ".join(parts))
