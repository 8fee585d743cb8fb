"""Notifications: finished jobs that their owner has not read."""

from __future__ import annotations

from typing import Annotated, Literal, cast

from pydantic import Field
from typing_extensions import TypedDict

from gateway.views import times
from gateway.views.jobs import job_state
from gateway.views.times import ErrorInfo
from repruv.jobs.v1 import job_events_pb2, job_pb2, jobs_service_pb2

EndState = Literal["completed", "failed", "cancelled"]

_MESSAGES: dict[EndState, str] = {
    "completed": "The work is done.",
    "failed": "The work could not be done.",
    "cancelled": "The work was cancelled.",
}


class Notification(TypedDict):
    """A finished job that its owner has not read."""

    notification_id: str
    job_id: str
    kind: Annotated[str, Field(examples=["demo.enable"])]
    status: EndState
    message: Annotated[str, Field(description="One sentence for the user.")]
    error: ErrorInfo | None
    finished_at: str | None
    read: Literal[False]


class Notifications(TypedDict):
    """A page of unread notifications, the latest first."""

    notifications: list[Notification]
    unread_count: Annotated[int, Field(description="In all; more than 100 count as 100.")]
    next_page_token: Annotated[str, Field(description="Empty on the last page.")]


class NotificationsRead(TypedDict):
    """The unread count after notifications were read. Of two, the one with the higher `version` is the newer."""

    unread_count: Annotated[int, Field(description="In all; more than 100 count as 100.")]
    version: int


def notification(job: job_pb2.Job) -> Notification:
    """Return the notification of a job that ended."""
    state = cast("EndState", job_state(job))
    error = times.error(job.error) if job.HasField("error") else None
    return {
        "notification_id": job.job_id,
        "job_id": job.job_id,
        "kind": job.spec.kind,
        "status": state,
        "message": error["message"] if error and state == "failed" else _MESSAGES[state],
        "error": error,
        "finished_at": times.optional_time(job, "finish_time"),
        "read": False,
    }


def notifications(page: jobs_service_pb2.ListNotificationsResponse) -> Notifications:
    return {
        "notifications": [notification(job) for job in page.jobs],
        "unread_count": page.unread_count,
        "next_page_token": page.next_page_token,
    }


def notifications_read(message: job_events_pb2.NotificationsRead) -> NotificationsRead:
    """Return the unread count after notifications were read."""
    return {"unread_count": message.unread_count, "version": message.count_time.ToMicroseconds()}
