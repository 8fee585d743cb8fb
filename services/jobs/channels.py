"""Subjects on which this service publishes. The comments of the messages say when."""

from __future__ import annotations

from chassis.channels import Channel
from repruv.jobs.v1 import job_events_pb2 as events

EVENTS = Channel("jobs.events.{kind}", events.JobEvents)
LIVE_EVENTS = Channel("jobs.live_events.{owner_id}", events.JobEvents)
PROGRESS = Channel("jobs.progress.{owner_id}", events.JobProgressed)
LOGS = Channel("jobs.logs.{owner_id}", events.LinesLogged)
NOTIFICATIONS_READ = Channel("jobs.notifications_read.{owner_id}", events.NotificationsRead)
WAKE = Channel("jobs.wake.{kind}", events.JobSubmitted)
CANCEL = Channel("jobs.cancel", events.JobCancelRequested)
CHANNELS = (EVENTS, LIVE_EVENTS, PROGRESS, LOGS, NOTIFICATIONS_READ, WAKE, CANCEL)
