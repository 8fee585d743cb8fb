"""Notices: the unread finished jobs that pages show, by the categories that the user wants."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from gateway import views
from gateway.container import Container
from gateway.identity import sessions
from repruv.auth.v1 import auth_pb2
from repruv.jobs.v1 import jobs_service_pb2

CATEGORIES: Mapping[views.NoticeCategory, tuple[str, ...]] = {
    "demo_mode": ("demo.enable", "demo.disable"),
    "exports": ("demo.export", "auth.export-data"),
    "connections": ("auth.connect", "auth.disconnect"),
    "other": (),
}
"""The kinds of jobs of each category; `other` has all that no category names."""


async def unread(
    container: Container, session: sessions.Session, *, page_size: int, page_token: str = "", quick: bool = False
) -> views.Notifications:
    """Return a page of the wanted notifications; an empty one if none are wanted. Raises `InvalidArgument`."""
    muted = muted_of(session.user)
    if len(muted) == len(CATEGORIES):
        return {"notifications": [], "unread_count": 0, "next_page_token": ""}
    request = jobs_service_pb2.ListNotificationsRequest(page_size=page_size, page_token=page_token)
    if "other" in muted:
        request.kinds.extend(_kinds(set(CATEGORIES) - muted))
    else:
        request.excluded_kinds.extend(_kinds(muted))
    return views.notifications(await container.jobs.list_notifications.send(session.identity, request, quick=quick))


async def mark_read(
    container: Container, session: sessions.Session, notifications: views.Notifications, job_ids: Collection[str]
) -> views.Notifications:
    """Mark the notifications of jobs as read because a page shows their end. Return those that remain."""
    listed = {item["job_id"] for item in notifications["notifications"]}
    # Older ones may be unread too.
    is_complete = notifications["unread_count"] == len(listed)
    if not job_ids or (is_complete and listed.isdisjoint(job_ids)):
        return notifications
    marked = await container.jobs.mark_notifications_read(session.identity, job_ids=sorted(job_ids))
    rest = [item for item in notifications["notifications"] if item["job_id"] not in job_ids]
    return {**notifications, "notifications": rest, "unread_count": notifications["unread_count"] - marked.marked_count}


def muted_of(user: auth_pb2.User) -> set[views.NoticeCategory]:
    """Return the categories of which pages show no notices."""
    settings = views.notification_settings(user)
    return set(settings["muted_notices"] if settings["page_notices"] else CATEGORIES)


def _kinds(categories: set[views.NoticeCategory]) -> list[str]:
    return sorted(kind for category in categories for kind in CATEGORIES[category])
