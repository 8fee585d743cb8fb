"""The job kinds and the schedules of connections, for the auth-worker."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any

import worker
from lifecycle.settler import Settler
from services.auth.connections import domain, jobs
from services.auth.connections.domain import Action, Connection
from services.auth.connections.handlers import connect, disconnect, due, maintenance, refresh, revoke_tokens
from services.auth.connections.handlers.dependencies import Dependencies

SCHEDULES = [
    worker.Schedule("auth.refresh-due", kind="auth.refresh-due", cron="* * * * *", overlap="skip"),
    worker.Schedule("auth.connections-abandoned", kind="auth.connections-abandoned", cron="* * * * *", overlap="skip"),
    worker.Schedule(
        "auth.connections-maintenance", kind="auth.connections-maintenance", cron="7 * * * *", overlap="skip"
    ),
]

BACKGROUND = -10
"""The priority of jobs that nobody waits for: thousands may become due at once, and emails and connects do not wait for them."""


def kinds(
    dependencies: Dependencies, settler: Settler[Connection, Action], submit: maintenance.Submit
) -> list[worker.Kind[Any]]:
    day = timedelta(days=1)
    return [
        worker.Kind(domain.JobKind.CONNECT.value, partial(connect.connect, dependencies), notify_owner=True),
        worker.Kind(domain.JobKind.DISCONNECT.value, partial(disconnect.disconnect, dependencies), notify_owner=True),
        worker.Kind(
            jobs.REFRESH,
            partial(refresh.refresh, dependencies),
            priority=BACKGROUND,
            max_attempts=5,
            backoff=timedelta(seconds=2),
            max_backoff=timedelta(minutes=2),
            attempt_timeout=jobs.ATTEMPT_TIMEOUT,
            retention=day,
        ),
        worker.Kind(
            jobs.REVOKE_TOKENS,
            partial(revoke_tokens.revoke_tokens, dependencies),
            priority=BACKGROUND,
            # For half a day; then the maintenance submits it again.
            max_attempts=20,
            backoff=timedelta(seconds=5),
            max_backoff=timedelta(hours=1),
            attempt_timeout=jobs.ATTEMPT_TIMEOUT,
            retention=day,
        ),
        worker.Kind("auth.connections-maintenance", partial(maintenance.maintain, dependencies, submit), retention=day),
        worker.Kind("auth.refresh-due", partial(due.refresh_due, dependencies, submit), retention=day),
        worker.Kind("auth.connections-abandoned", partial(due.abandon, dependencies, settler), retention=day),
    ]
