"""The handler of the job `demo.expire`: demo modes whose time has come are disabled, as their owners would."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

import worker
from chassis import postgres
from services.demo import operations, storage

logger = logging.getLogger(__name__)

BATCH = 100
_START = (datetime.fromtimestamp(0, UTC), UUID(int=0))


SCHEDULE = worker.Schedule("demo.expire", kind="demo.expire", cron="* * * * *", overlap="skip")


def kind(engine: AsyncEngine, demo: operations.Operations) -> worker.Kind[Any]:
    """What the worker serves beside the jobs of single demo modes."""
    return worker.Kind(SCHEDULE.name, Expiry(engine, demo).expire, retention=timedelta(days=1))


class Expiry:
    """Disables what has expired."""

    def __init__(self, engine: AsyncEngine, demo: operations.Operations, *, batch: int = BATCH) -> None:
        self._single = postgres.autocommit(engine)
        self._demo = demo
        self._batch = batch

    async def expire(self, context: worker.Context) -> dict[str, int]:
        """Disable all that have expired by now, the oldest first; gives how many. One that fails does not stop the others.

        Each has a transaction and a job of its own, so it may stop anywhere and begin again.
        """
        expired, failed = 0, 0
        after = _START
        while True:
            async with self._single.connect() as conn:
                found = await storage.list_expired(conn, after=after, limit=self._batch)
            for _, owner_id in found:
                context.raise_if_cancelled()
                try:
                    expired += await self._demo.expire(owner_id)
                except Exception:
                    logger.exception("demo mode not expired", extra={"owner_id": owner_id})
                    failed += 1
            if len(found) < self._batch:
                break
            after = found[-1]
            await context.progress(expired, 0, "Disabling demo modes")
        if failed:
            message = f"{failed} demo modes that have expired could not be disabled."
            raise worker.JobFailed("expiry_incomplete", message, retryable=True)
        return {"expired": expired}
