"""The kinds of this service: `jobs.cleanup` is the retention, `jobs.group` waits for its children, `jobs.bulk` changes jobs."""

from __future__ import annotations

import dataclasses
import time
from datetime import timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

import worker
from services.jobs import domain, retention
from services.jobs.operators import bulk

BEGINNING_SECONDS = 3_600.0
"""How often a cleanup begins at the oldest jobs again: an import may have added some."""


class Cleanup:
    """Handles `jobs.cleanup`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._positions: dict[str, retention.Position] = {}
        self._begin_at = 0.0

    async def clean(self, context: worker.Context) -> dict[str, Any]:
        """Delete up to `retention.MAX_BATCHES` batches; return the number of deleted rows."""

        async def report(deleted: int) -> None:
            context.raise_if_cancelled()
            await context.progress(deleted, 0, "Deleting ended jobs")

        if time.monotonic() >= self._begin_at:
            self._positions.clear()
            self._begin_at = time.monotonic() + BEGINNING_SECONDS
        return dataclasses.asdict(await retention.clean(self._engine, report, positions=self._positions))


async def group(context: worker.Context) -> dict[str, int]:
    """End when all children have ended; fail if one of them did not complete.

    Submit the group and its children in one call: a group without children completes at once.
    """
    children = context.children
    if children.ended < children.total:
        raise worker.WaitForChildren
    if children.unsuccessful:
        message = f"{children.unsuccessful} of {children.total} parts of this did not succeed."
        raise worker.JobFailed(domain.CHILDREN_FAILED, message, retryable=False)
    return {"children": children.total, "unsuccessful": children.unsuccessful}


def kinds(engine: AsyncEngine, changes: bulk.Bulk) -> list[worker.Kind[Any]]:
    return [
        # `retention.MAX_SECONDS` of batches, then workers, kinds and notes.
        worker.Kind(
            "jobs.cleanup",
            Cleanup(engine).clean,
            attempt_timeout=timedelta(minutes=20),
            retention=timedelta(days=1),
        ),
        worker.Kind(domain.GROUP, group),
        worker.Kind(
            bulk.KIND,
            changes.run,
            payload=bulk.Payload,
            max_attempts=10,
            attempt_timeout=timedelta(hours=24),
            notify_owner=True,
            retention=timedelta(days=30),
        ),
    ]


def schedules() -> list[worker.Schedule]:
    return [worker.Schedule("jobs.cleanup", kind="jobs.cleanup", cron="*/5 * * * *", overlap="skip")]
