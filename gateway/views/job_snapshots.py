"""Jobs."""

from __future__ import annotations

from chassis import protobuf
from gateway.views import times
from gateway.views.times import Json
from repruv.jobs.v1 import job_events_pb2, job_pb2, jobs_service_pb2

JOB_STATES = {value: name.removeprefix("JOB_STATE_").lower() for name, value in job_pb2.JobState.items()}
CANCELLABLE = frozenset({"scheduled", "pending", "running", "retrying"})
FINISHED = frozenset({"completed", "failed", "cancelled"})
SUPERSEDED = "superseded"

_ENDED_MESSAGES = {
    "completed": "The work is done.",
    "failed": "The work could not be done.",
    "cancelled": "The work was cancelled.",
}


def job_state(job: job_pb2.Job) -> str:
    """Where a job stands, in one word."""
    return JOB_STATES[job.state]


def job(snapshot: job_pb2.Job) -> Json:
    """A job as it stood when the snapshot was taken."""
    state = job_state(snapshot)
    superseded = snapshot.cancel_reason == SUPERSEDED
    return {
        "job_id": snapshot.job_id,
        "kind": snapshot.spec.kind,
        "status": state,
        "progress": progress(snapshot),
        "attempt": snapshot.attempt,
        "max_attempts": snapshot.max_attempts,
        "errors": snapshot.errors,
        "created_at": times.optional_time(snapshot, "create_time"),
        "started_at": times.optional_time(snapshot, "start_time"),
        "finished_at": times.optional_time(snapshot, "finish_time"),
        "duration_seconds": _duration(snapshot),
        "estimated_finish_at": times.optional_time(snapshot.progress, "estimate_time"),
        "next_run_at": times.optional_time(snapshot, "next_run_time"),
        "deadline_at": times.optional_time(snapshot, "deadline"),
        "parent_id": snapshot.spec.parent_id or None,
        "children": _children(snapshot.children) if snapshot.HasField("children") else None,
        "result": protobuf.from_struct(snapshot.result) if snapshot.HasField("result") else None,
        "error": times.error(snapshot.error) if snapshot.HasField("error") else None,
        "cancel_reason": snapshot.cancel_reason or None,
        "cancellable": state in CANCELLABLE,
        "retryable": state == "failed" or (state == "cancelled" and not superseded),
        "version": snapshot.version,
    }


def progress(snapshot: job_pb2.Job) -> Json:
    """How far a job has come; 100 % once it is completed, never above."""
    done, total = snapshot.progress.done, snapshot.progress.total
    percent = min(100, max(0, done * 100 // total)) if total > 0 else 0
    if snapshot.state == job_pb2.JOB_STATE_COMPLETED:
        percent = 100
    return {"done": done, "total": total, "percent": percent, "message": snapshot.progress.message}


def jobs(page: jobs_service_pb2.ListJobsResponse) -> Json:
    """A page of jobs."""
    return {"jobs": [job(item) for item in page.jobs], "next_page_token": page.next_page_token}


def notification(ended: job_pb2.Job) -> Json:
    """A job that ended and that its owner has not read of yet."""
    state = job_state(ended)
    error = times.error(ended.error) if ended.HasField("error") else None
    return {
        "notification_id": ended.job_id,
        "job_id": ended.job_id,
        "kind": ended.spec.kind,
        "status": state,
        "message": error["message"] if error and state == "failed" else _ENDED_MESSAGES[state],
        "error": error,
        "finished_at": times.optional_time(ended, "finish_time"),
        "read": False,
    }


def notifications(page: jobs_service_pb2.ListNotificationsResponse) -> Json:
    """A page of what ended while nobody looked."""
    return {
        "notifications": [notification(ended) for ended in page.jobs],
        "unread_count": page.unread_count,
        "next_page_token": page.next_page_token,
    }


def notifications_read(read: job_events_pb2.NotificationsRead) -> Json:
    """How much is unread since somebody has read; of two, the higher version holds."""
    return {"unread_count": read.unread_count, "version": read.count_time.ToMicroseconds()}


def job_history(job_id: str, history: jobs_service_pb2.GetJobHistoryResponse) -> Json:
    """What happened to a job, oldest first."""
    return {
        "job_id": job_id,
        "attempts": [
            {
                "attempt": attempt.attempt,
                "worker": attempt.worker,
                "started_at": times.optional_time(attempt, "start_time"),
                "finished_at": times.optional_time(attempt, "finish_time"),
                "outcome": attempt.outcome or None,
                "error": times.error(attempt.error) if attempt.HasField("error") else None,
            }
            for attempt in history.attempts
        ],
        "transitions": [
            {
                "sequence": transition.sequence,
                "status": JOB_STATES[transition.state],
                "attempt": transition.attempt,
                "reason": transition.reason,
                "occurred_at": times.optional_time(transition, "occur_time"),
            }
            for transition in history.transitions
        ],
    }


def _duration(snapshot: job_pb2.Job) -> float | None:
    """Seconds from the first attempt to the end; a snapshot of a running job does not grow older by itself."""
    if not (snapshot.HasField("start_time") and snapshot.HasField("finish_time")):
        return None
    return round((snapshot.finish_time.ToNanoseconds() - snapshot.start_time.ToNanoseconds()) / 1e9, 3)


def _children(children: job_pb2.JobChildren) -> Json:
    return {"total": children.total, "ended": children.ended, "unsuccessful": children.unsuccessful}
