"""The handlers of the minutely schedules: renewals that are due are submitted, abandoned connections ended."""

from __future__ import annotations

import logging
from datetime import timedelta

import worker
from chassis import errors
from lifecycle.settler import Settler
from services.auth.connections import jobs, secrets, storage
from services.auth.connections.domain import Action, Connection
from services.auth.connections.handlers.dependencies import Dependencies
from services.auth.connections.handlers.maintenance import Submit

logger = logging.getLogger(__name__)

BATCH = 200
ROUNDS = 50
REFRESH_PAUSE = timedelta(minutes=1)
"""A connection whose access is due gets at most one job in this time, and at most one at a time; fewer while it stays due."""
SYNC_PAUSE = timedelta(hours=1)
"""The same for one that is to be read again, also after a platform that could not be read."""


async def refresh_due(dependencies: Dependencies, submit: Submit, context: worker.Context) -> dict[str, int]:
    """Submit a job for each connection that must be renewed, or read again, by now; return how many were new."""
    submitted = 0
    for _ in range(ROUNDS):
        context.raise_if_cancelled()
        async with dependencies.engine.begin() as conn:
            due = await storage.take_to_refresh(conn, age=REFRESH_PAUSE, limit=BATCH)
            due += await storage.take_to_sync(conn, age=SYNC_PAUSE, limit=BATCH)
        for answer in await submit(map(jobs.refresh, due)) if due else []:
            if isinstance(answer, worker.SubmittedJob):
                submitted += 1
            elif not isinstance(answer, errors.AlreadyExists):
                # It is due again in a minute.
                logger.warning("a renewal was not submitted", extra={"cause": answer.code})
        if len(due) < BATCH:
            break
    return {"submitted": submitted}


async def abandon(
    dependencies: Dependencies, settler: Settler[Connection, Action], context: worker.Context
) -> dict[str, int]:
    """End connections whose users did not come back, and delete expired authorizations; return how many were to end."""
    overdue = 0
    for _ in range(ROUNDS):
        context.raise_if_cancelled()
        taken = await settler.end_overdue(limit=BATCH)
        overdue += taken
        if taken < BATCH:
            break
    async with dependencies.engine.begin() as conn:
        await secrets.delete_expired(conn)
    return {"overdue": overdue}
