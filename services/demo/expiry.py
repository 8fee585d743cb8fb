"""The handler of the job `demo.expire`: demo modes that have expired are disabled, as by their owners."""

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
    return worker.Kind(SCHEDULE.name, Expiry(engine, demo).expire, retention=timedelta(days=1))


class Expiry:
    """Disables expired demo modes."""

    def __init__(self, engine: AsyncEngine, demo: operations.Operations, *, batch_size: int = BATCH) -> None:
        self._single = postgres.autocommit(engine)
        self._demo = demo
        self._batch_size = batch_size

    async def expire(self, context: worker.Context) -> dict[str, int]:
        """Disable all demo modes that have expired by now, the oldest first; return how many.

        One that fails does not stop the others. Each has its own transaction and job, so the handler may stop anywhere and
        start again.
        """
        expired, failed = 0, 0
        after = _START
        while True:
            async with self._single.connect() as conn:
                batch = await storage.list_expired(conn, after=after, limit=self._batch_size)
            for _, owner_id in batch:
                context.raise_if_cancelled()
                try:
                    expired += await self._demo.expire(owner_id)
                except Exception:
                    logger.exception("demo mode not expired", extra={"owner_id": owner_id})
                    failed += 1
            if len(batch) < self._batch_size:
                break
            after = batch[-1]
            await context.progress(expired, 0, "Disabling demo modes")
        if failed:
            message = f"{failed} demo modes that have expired could not be disabled."
            raise worker.JobFailed("expiry_incomplete", message, retryable=True)
        return {"expired": expired}
