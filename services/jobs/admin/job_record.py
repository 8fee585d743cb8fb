"""The command `show`: a job, its attempts, steps and transitions, the exceptions and the log lines of its handler."""

from __future__ import annotations

import argparse
from datetime import UTC

from chassis import errors
from repruv.jobs.v1 import admin_service_pb2, job_pb2, jobs_service_pb2
from services.jobs import list_storage
from services.jobs.admin import answers, engine_commands, tables
from services.jobs.admin.connection import Connection
from services.jobs.admin.job_commands import show_job

LINES = 1_000


async def show(jobs: Connection, args: argparse.Namespace) -> int:
    """Show all that is stored of a job, of its log lines the newest 1,000."""
    job = (await jobs.call(jobs.jobs.GetJob, jobs_service_pb2.GetJobRequest(job_id=args.job_id))).job
    request = jobs_service_pb2.GetJobHistoryRequest(job_id=args.job_id)
    history = await jobs.call(jobs.jobs.GetJobHistory, request)
    log = await _log(jobs, args.job_id)
    if args.json:
        parts = {"job": job, "history": history, "log": log}
        print("{" + ", ".join(f'"{name}": {answers.to_json(part)}' for name, part in parts.items()) + "}")
        return 0
    show_job(job)
    print()
    _show_history(history)
    for attempt in history.attempts:
        if attempt.HasField("exception"):
            print(f"\nException of attempt {attempt.attempt}, fingerprint {attempt.fingerprint}")
            print(tables.printable(attempt.exception.traceback or attempt.exception.message))
    if log.lines:
        print()
        for line in log.lines:
            moment = line.time.ToDatetime(UTC).strftime("%H:%M:%S.%f")[:-3]
            print(f"{line.attempt}  {moment}  {line.level:<8}  {tables.printable(line.text)}")
    return 0


async def _log(jobs: Connection, job_id: str) -> admin_service_pb2.ListLogLinesResponse:
    request = admin_service_pb2.ListLogLinesRequest(job_id=job_id, page_size=LINES)
    try:
        return await jobs.call(jobs.admin.ListLogLines, request)
    except errors.PermissionDenied:
        # The tool signs as a service without an operator's rights.
        return admin_service_pb2.ListLogLinesResponse()


def _show_history(history: jobs_service_pb2.GetJobHistoryResponse) -> None:
    attempts = [
        (
            str(attempt.attempt),
            attempt.worker,
            tables.at(attempt, "start_time"),
            tables.at(attempt, "finish_time"),
            attempt.outcome or "runs",
            _progress_of(attempt),
            tables.error(attempt.error),
        )
        for attempt in history.attempts
    ]
    if history.HasField("jobs_ahead"):
        more = " or more" if history.jobs_ahead >= list_storage.MAX_JOBS_AHEAD else ""
        print(f"waits: {history.jobs_ahead:,}{more} jobs of its kind are ahead\n")
    header = ("ATTEMPT", "WORKER", "STARTED", "FINISHED", "OUTCOME", "REACHED", "ERROR")
    tables.show(header, attempts, nothing="no attempts yet")
    print()
    if history.checkpoints:
        steps = [
            (step.name, str(step.attempt), tables.at(step, "save_time"), tables.length(step, "duration"), step.value)
            for step in history.checkpoints
        ]
        tables.show(("STEP", "ATTEMPT", "SAVED", "TOOK", "VALUE"), steps, nothing="")
        print()
    if history.changes:
        changes = [
            (each.change, tables.at(each, "time"), each.actor_id or engine_commands.COMMAND_LINE)
            for each in history.changes
        ]
        tables.show(("CHANGE", "WHEN", "BY"), changes, nothing="")
        print()
    transitions = [
        (str(item.sequence), tables.at(item, "occur_time"), tables.state(item.state), str(item.attempt), item.reason)
        for item in history.transitions
    ]
    tables.show(("SEQUENCE", "WHEN", "STATE", "ATTEMPT", "REASON"), transitions, nothing="no transitions")


def _progress_of(attempt: job_pb2.Attempt) -> str:
    """Return where an attempt resumed and how far it came: "41,000 -> 50,000/100,000"."""
    if not attempt.HasField("progress"):
        return tables.NOTHING
    resumed = f"{attempt.resumed_done:,} -> " if attempt.HasField("resumed_done") else ""
    total = f"/{attempt.progress.total:,}" if attempt.progress.total else ""
    return f"{resumed}{attempt.progress.done:,}{total}"
