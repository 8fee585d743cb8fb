"""The jobs service's own jobs: `jobs.cleanup` deletes what nobody needs any more, `jobs.group` waits for its children."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

import worker
from services.jobs import retention


class Cleanup:
    """Deletes by `retention`, in the database of the jobs service."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def clean(self, context: worker.Context) -> dict[str, Any]:
        """Delete a good deal; gives how much of what."""

        async def report(deleted: int) -> None:
            context.raise_if_cancelled()
            await context.progress(deleted, 0, "Deleting ended jobs")

        return dataclasses.asdict(await retention.clean(self._engine, report))


async def group(context: worker.Context) -> dict[str, int]:
    """End when all children have: failed when one of them did not complete.

    Submit the group, then its children with it as their parent; without any it completes at once, so submit them together.
    """
    children = context.children
    if children.ended < children.total:
        raise worker.WaitForChildren
    if children.unsuccessful:
        message = f"{children.unsuccessful} of {children.total} parts of this did not succeed."
        raise worker.JobFailed("children_failed", message, retryable=False)
    return {"children": children.total, "unsuccessful": children.unsuccessful}


def kinds(engine: AsyncEngine) -> list[worker.Kind[Any]]:
    """What the jobs service serves itself."""
    return [
        # Two minutes in pauses alone, when there is much.
        worker.Kind(
            "jobs.cleanup",
            Cleanup(engine).clean,
            attempt_timeout=timedelta(minutes=20),
            retention=timedelta(days=1),
        ),
        worker.Kind("jobs.group", group),
    ]


def schedules() -> list[worker.Schedule]:
    """What the jobs service does by itself."""
    return [worker.Schedule("jobs.cleanup", kind="jobs.cleanup", cron="*/5 * * * *", overlap="skip")]
