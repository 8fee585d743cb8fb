"""Protobuf to JSON: the one shape of each thing, in answers, in the events of a stream and on pages."""

from __future__ import annotations

from gateway.views.accounts import (
    CONNECTIONS_PATH,
    DASHBOARD_PATH,
    DEMO_PATH,
    SECURITY_PATH,
    SESSIONS_PATH,
    me,
    security,
    security_event,
    session,
    user,
)
from gateway.views.connections import CONNECTION_MOVING, connection, connection_state
from gateway.views.demo import (
    DEMO_STATES,
    MOVING,
    content,
    dashboard,
    demo_accepted,
    demo_example,
    demo_state,
    demo_status,
    interactions,
)
from gateway.views.job_snapshots import (
    CANCELLABLE,
    FINISHED,
    JOB_STATES,
    job,
    job_history,
    job_state,
    jobs,
    notification,
    notifications,
    progress,
)
from gateway.views.passkeys import ceremony, passkey, passkeys
from gateway.views.times import Json, optional_time, time

__all__ = [
    "CANCELLABLE",
    "CONNECTIONS_PATH",
    "CONNECTION_MOVING",
    "DASHBOARD_PATH",
    "DEMO_PATH",
    "DEMO_STATES",
    "FINISHED",
    "JOB_STATES",
    "MOVING",
    "SECURITY_PATH",
    "SESSIONS_PATH",
    "Json",
    "ceremony",
    "connection",
    "connection_state",
    "content",
    "dashboard",
    "demo_accepted",
    "demo_example",
    "demo_state",
    "demo_status",
    "interactions",
    "job",
    "job_history",
    "job_state",
    "jobs",
    "me",
    "notification",
    "notifications",
    "optional_time",
    "passkey",
    "passkeys",
    "progress",
    "security",
    "security_event",
    "session",
    "time",
    "user",
]
