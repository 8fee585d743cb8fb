"""Notifications: how many are unread after some were read in another tab or on another device."""

from __future__ import annotations

from gateway import views
from gateway.stream.sources.source import Source
from repruv.jobs.v1 import job_events_pb2, job_pb2


class Notifications(Source[job_events_pb2.NotificationsRead]):
    """Unread counts. A missed one is not repaired: the next page load or notification shows the count."""

    event = "notification"
    subject = "jobs.notifications_read"
    has_state = False

    def parse(self, payload: bytes) -> job_events_pb2.NotificationsRead:
        """Return the count after notifications were read."""
        return job_events_pb2.NotificationsRead.FromString(payload)

    def show(self, snapshot: job_events_pb2.NotificationsRead, job: job_pb2.Job | None) -> views.NotificationsRead:
        """Return the unread count and its version."""
        return views.notifications_read(snapshot)
