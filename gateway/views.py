"""Protobuf to JSON: the one shape of each thing, in answers, in the events of a stream and on pages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC
from typing import Any

from google.protobuf import json_format
from google.protobuf.timestamp_pb2 import Timestamp

from repruv.auth.v1 import auth_pb2
from repruv.demo.v1 import demo_pb2, demo_service_pb2
from repruv.jobs.v1 import job_pb2, jobs_service_pb2

Json = dict[str, Any]

JOB_STATES = {value: name.removeprefix("JOB_STATE_").lower() for name, value in job_pb2.JobState.items()}
DEMO_STATES = {value: name.removeprefix("DEMO_STATE_").lower() for name, value in demo_pb2.DemoState.items()}
CANCELLABLE = frozenset({"scheduled", "pending", "running", "retrying"})
FINISHED = frozenset({"completed", "failed", "cancelled"})
MOVING = frozenset({"enabling", "disabling"})
SUPERSEDED = "superseded"

_DEMO_MESSAGES = {
    "enabling": "Demo mode is being enabled.",
    "enabled": "Demo mode is active.",
    "disabling": "Demo mode is being disabled.",
    "failed": "Demo mode failed.",
}
_ENDED_MESSAGES = {
    "completed": "The work is done.",
    "failed": "The work could not be done.",
    "cancelled": "The work was cancelled.",
}

DASHBOARD_PATH = "/dashboard"
DEMO_PATH = "/settings/demo-mode"


def time(moment: Timestamp) -> str:
    """Give a time as ISO 8601 in UTC, to the millisecond."""
    return moment.ToDatetime(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def user(account: auth_pb2.User) -> Json:
    """A person with an account."""
    return {
        "user_id": account.user_id,
        "email": account.email,
        "name": account.name,
        "role": auth_pb2.UserRole.Name(account.role).removeprefix("USER_ROLE_").lower(),
        "created_at": _optional_time(account, "create_time"),
    }


def me(account: auth_pb2.User, demo: demo_pb2.Demo | None) -> Json:
    """The signed-in user, and where to go after signing in; `demo` is None when nobody knows how it stands."""
    has_data = demo is None or demo_state(demo) != "disabled"
    return {
        **{name: value for name, value in user(account).items() if name != "created_at"},
        "can_access_dashboard": True,
        "redirect_path": DASHBOARD_PATH if has_data else DEMO_PATH,
    }


def session(login: auth_pb2.Session, *, current_id: str) -> Json:
    """One login, as its owner sees it."""
    return {
        "session_id": login.session_id,
        "user_agent": login.user_agent,
        "ip_address": login.ip_address,
        "created_at": _optional_time(login, "create_time"),
        "last_seen_at": _optional_time(login, "last_seen_time"),
        "expires_at": _optional_time(login, "absolute_expire_time"),
        "current": login.session_id == current_id,
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
        "created_at": _optional_time(snapshot, "create_time"),
        "started_at": _optional_time(snapshot, "start_time"),
        "finished_at": _optional_time(snapshot, "finish_time"),
        "duration_seconds": _duration(snapshot),
        "estimated_finish_at": _optional_time(snapshot.progress, "estimate_time"),
        "next_run_at": _optional_time(snapshot, "next_run_time"),
        "deadline_at": _optional_time(snapshot, "deadline"),
        "parent_id": snapshot.spec.parent_id or None,
        "children": _children(snapshot.children) if snapshot.HasField("children") else None,
        "result": _whole_numbers(json_format.MessageToDict(snapshot.result)) if snapshot.HasField("result") else None,
        "error": _error(snapshot.error) if snapshot.HasField("error") else None,
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
    error = _error(ended.error) if ended.HasField("error") else None
    return {
        "notification_id": ended.job_id,
        "job_id": ended.job_id,
        "kind": ended.spec.kind,
        "status": state,
        "message": error["message"] if error and state == "failed" else _ENDED_MESSAGES[state],
        "error": error,
        "finished_at": _optional_time(ended, "finish_time"),
        "read": False,
    }


def notifications(page: jobs_service_pb2.ListNotificationsResponse) -> Json:
    """A page of what ended while nobody looked."""
    return {
        "notifications": [notification(ended) for ended in page.jobs],
        "unread_count": page.unread_count,
        "next_page_token": page.next_page_token,
    }


def job_history(job_id: str, history: jobs_service_pb2.GetJobHistoryResponse) -> Json:
    """What happened to a job, oldest first."""
    return {
        "job_id": job_id,
        "attempts": [
            {
                "attempt": attempt.attempt,
                "worker": attempt.worker,
                "started_at": _optional_time(attempt, "start_time"),
                "finished_at": _optional_time(attempt, "finish_time"),
                "outcome": attempt.outcome or None,
                "error": _error(attempt.error) if attempt.HasField("error") else None,
            }
            for attempt in history.attempts
        ],
        "transitions": [
            {
                "sequence": transition.sequence,
                "status": JOB_STATES[transition.state],
                "attempt": transition.attempt,
                "reason": transition.reason,
                "occurred_at": _optional_time(transition, "occur_time"),
            }
            for transition in history.transitions
        ],
    }


def demo_state(demo: demo_pb2.Demo) -> str:
    """Where demo mode stands, in one word."""
    return DEMO_STATES[demo.state]


def demo_status(demo: demo_pb2.Demo, moved_by: job_pb2.Job | None) -> Json:
    """How demo mode stands; `moved_by` is the job that moves it, if it can be read."""
    state = demo_state(demo)
    if moved_by is not None and (state not in MOVING | {"failed"} or moved_by.job_id != demo.job_id):
        moved_by = None
    job_status = job_state(moved_by) if moved_by else "pending" if state in MOVING else None
    profile = demo.profile
    return {
        "status": state,
        "demo_mode": state == "enabled",
        "job_id": demo.job_id or None,
        "job_kind": demo.job_kind or None,
        "job_status": job_status,
        "progress": progress(moved_by) if moved_by else None,
        "profile": {
            "profile_type": profile.profile_type,
            "niche": profile.niche,
            "name": profile.name,
            "handle": profile.handle,
            "tagline": profile.tagline,
            "avatar": profile.avatar,
            "platforms": list(profile.platforms),
        }
        if demo.HasField("profile")
        else None,
        "error": _error(demo.error) if demo.HasField("error") else None,
        "stats": {
            "content": demo.stats.content_count,
            "interactions": demo.stats.interaction_count,
            "content_written": demo.stats.content_written,
            "interactions_written": demo.stats.interactions_written,
            "removed_content": demo.stats.content_removed,
            "removed_interactions": demo.stats.interactions_removed,
        },
        "version": demo.version,
        "enabled_at": _optional_time(demo, "enable_time"),
        "expires_at": _optional_time(demo, "expire_time"),
        "message": _demo_message(state, demo),
    }


def demo_accepted(demo: demo_pb2.Demo, job_id: str) -> Json:
    """The answer to an accepted enable or disable."""
    state = demo_state(demo)
    return {"status": state, "job_id": job_id, "message": _demo_message(state, demo)}


def content(page: demo_service_pb2.ListContentResponse) -> Json:
    """A page of content items."""
    return {
        "content": [
            {
                "content_id": item.content_id,
                "platform": item.platform,
                "title": item.title,
                "published_at": _optional_time(item, "publish_time"),
                "views": item.views,
                "likes": item.likes,
                "interaction_count": item.interaction_count,
            }
            for item in page.content
        ],
        "next_page_token": page.next_page_token,
    }


def interactions(page: demo_service_pb2.ListInteractionsResponse) -> Json:
    """A page of interactions."""
    return {
        "interactions": [
            {
                "interaction_id": item.interaction_id,
                "kind": item.kind,
                "platform": item.platform,
                "author": {"name": item.author_name, "handle": item.author_handle},
                "text": item.text,
                "rating": item.rating if item.HasField("rating") else None,
                "sentiment": item.sentiment,
                "replied": item.replied,
                "reply_text": item.reply_text or None,
                "needs_reply": item.needs_reply,
                "occurred_at": _optional_time(item, "occur_time"),
                "likes": item.likes,
                "content": {"content_id": item.content_id, "title": item.content_title},
            }
            for item in page.interactions
        ],
        "next_page_token": page.next_page_token,
    }


def dashboard(numbers: demo_service_pb2.GetDashboardResponse) -> Json:
    """The dashboard's numbers."""
    return {
        "demo": numbers.demo,
        "content_count": numbers.content_count,
        "interaction_count": numbers.interaction_count,
        "average_rating": numbers.average_rating if numbers.HasField("average_rating") else None,
        "rating_counts": _counts(numbers.rating_counts, range(1, 6)),
        "response_rate": numbers.response_rate if numbers.HasField("response_rate") else None,
        "needs_reply": numbers.needs_reply_count,
        "sentiment": _counts(numbers.sentiment_counts, ("positive", "neutral", "negative")),
        "views": numbers.views,
        "likes": numbers.likes,
        "interactions_per_day": [{"date": day.date, "count": day.count} for day in numbers.interactions_per_day],
        "computed_at": _optional_time(numbers, "compute_time"),
    }


def _demo_message(state: str, demo: demo_pb2.Demo) -> str:
    if state == "failed" and demo.error.message:
        return demo.error.message
    if state in _DEMO_MESSAGES:
        return _DEMO_MESSAGES[state]
    removed = demo.stats
    if removed.interactions_removed or removed.content_removed:
        return (
            f"Demo mode is off: {removed.interactions_removed:,} interactions,"
            f" {removed.content_removed:,} content items removed."
        )
    return "Demo mode is off."


def _optional_time(message: Any, field: str) -> str | None:
    return time(getattr(message, field)) if message.HasField(field) else None


def _duration(snapshot: job_pb2.Job) -> float | None:
    """Seconds from the first attempt to the end; a snapshot of a running job does not grow older by itself."""
    if not (snapshot.HasField("start_time") and snapshot.HasField("finish_time")):
        return None
    return round((snapshot.finish_time.ToNanoseconds() - snapshot.start_time.ToNanoseconds()) / 1e9, 3)


def _children(children: job_pb2.JobChildren) -> Json:
    return {"total": children.total, "ended": children.ended, "unsuccessful": children.unsuccessful}


def _error(error: job_pb2.JobError) -> Json:
    return {"code": error.code, "message": error.message}


def _counts(counts: Mapping[Any, int], names: Iterable[Any]) -> dict[str, int]:
    return {str(name): counts.get(name, 0) for name in names}


def _whole_numbers(value: Any) -> Any:
    """Undo what a Struct does to integers: it knows only floating point."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _whole_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole_numbers(item) for item in value]
    return value
