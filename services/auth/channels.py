"""Subjects on which this service publishes. The comments of the messages say when."""

from __future__ import annotations

from chassis.channels import Channel
from repruv.auth.v1 import auth_events_pb2 as events

SESSIONS = Channel("auth.events.{user_id}", events.SessionsRevoked)
CONNECTIONS = Channel("auth.events.connections.{user_id}", events.ConnectionEvent)
CHANNELS = (SESSIONS, CONNECTIONS)
