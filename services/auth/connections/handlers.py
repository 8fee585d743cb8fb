"""The kinds of jobs and the schedules of connections, for the auth-worker."""

from __future__ import annotations

import logging
from datetime import timedelta
from functools import partial
from typing import Any

import worker
from chassis import errors
from services.auth.connections import (
    connecting,
    convert,
    disconnecting,
    domain,
    leftovers,
    refreshing,
    settling,
    storage,
    upkeep,
)
from services.auth.connections.tasks import Dependencies

logger = logging.getLogger(__name__)

BATCH = 200
ROUNDS = 50
REFRESH_PAUSE = timedelta(minutes=1)
"""A connection whose access is due gets a job at most so often; and at most one at a time."""
SYNC_PAUSE = timedelta(hours=1)
"""The same for one that is to be read again; a platform that cannot be read now is asked again after it."""

Submit = upkeep.Submit

SCHEDULES = [
    worker.Schedule("auth.refresh-due", kind="auth.refresh-due", cron="* * * * *", overlap="skip"),
    worker.Schedule("auth.connections-abandoned", kind="auth.connections-abandoned", cron="* * * * *", overlap="skip"),
    worker.Schedule("auth.connections-upkeep", kind="auth.connections-upkeep", cron="7 * * * *", overlap="skip"),
]


def kinds(dependencies: Dependencies, settlement: settling.Settlement, submit: Submit) -> list[worker.Kind[Any]]:
    """Give what the worker serves."""
    swept = timedelta(days=1)
    return [
        worker.Kind(domain.JobKind.CONNECT.value, partial(connecting.connect, dependencies), notify_owner=True),
        worker.Kind(
            domain.JobKind.DISCONNECT.value, partial(disconnecting.disconnect, dependencies), notify_owner=True
        ),
        worker.Kind(
            convert.REFRESH,
            partial(refreshing.refresh, dependencies),
            max_attempts=5,
            backoff=timedelta(seconds=2),
            max_backoff=timedelta(minutes=2),
            attempt_timeout=convert.ATTEMPT_TIMEOUT,
            retention=swept,
        ),
        worker.Kind(
            convert.GIVE_BACK,
            partial(leftovers.give_back, dependencies),
            # Half a day long; then the upkeep begins anew.
            max_attempts=20,
            backoff=timedelta(seconds=5),
            max_backoff=timedelta(hours=1),
            attempt_timeout=convert.ATTEMPT_TIMEOUT,
            retention=swept,
        ),
        worker.Kind("auth.connections-upkeep", partial(upkeep.upkeep, dependencies, submit), retention=swept),
        worker.Kind("auth.refresh-due", partial(refresh_due, dependencies, submit), retention=swept),
        worker.Kind("auth.connections-abandoned", partial(abandon, settlement), retention=swept),
    ]


async def refresh_due(dependencies: Dependencies, submit: Submit, context: worker.Context) -> dict[str, int]:
    """Submit a job for each connection that must be renewed, or read again, by now; gives how many were new."""
    submitted = 0
    for _ in range(ROUNDS):
        context.raise_if_cancelled()
        async with dependencies.engine.begin() as conn:
            due = await storage.take_to_refresh(conn, age=REFRESH_PAUSE, limit=BATCH)
            due += await storage.take_to_sync(conn, age=SYNC_PAUSE, limit=BATCH)
        for answer in await submit(convert.refresh_to_proto(connection) for connection in due) if due else []:
            if isinstance(answer, worker.SubmittedJob):
                submitted += 1
            elif not isinstance(answer, errors.AlreadyExists):
                # It is due again in a minute.
                logger.warning("a renewal was not submitted", extra={"cause": answer.code})
        if len(due) < BATCH:
            break
    return {"submitted": submitted}


async def abandon(settlement: settling.Settlement, context: worker.Context) -> dict[str, int]:
    """Give up what users have not come back to; gives how many."""
    abandoned = 0
    for _ in range(ROUNDS):
        context.raise_if_cancelled()
        found = await settlement.abandon_all(limit=BATCH)
        abandoned += found
        if found < BATCH:
            break
    return {"abandoned": abandoned}
