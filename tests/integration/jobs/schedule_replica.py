"""One schedule of a test, and the jobs that it submits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from services.jobs import domain, operations, outcomes, schema
from services.jobs.schedules import cron
from services.jobs.schedules import operations as schedule_operations
from services.jobs.schedules.cron import Schedule

_HOUR = (datetime.now(UTC).hour + 12) % 24
DAILY = f"0 {_HOUR} * * *"
"""Twelve hours away: its time does not come within a test, whenever the tests run."""
ANOTHER_HOUR = (_HOUR + 6) % 24
DAILY_AT_ANOTHER_HOUR = f"0 {ANOTHER_HOUR} * * *"


class ScheduleReplica:
    """One schedule of one test, seen by a replica of the jobs service and by the test."""

    def __init__(self, engine: AsyncEngine, jobs: operations.Operations, kind: str) -> None:
        self.name = f"{kind}.schedule"
        self.kind = kind
        self.engine = engine
        self.jobs = jobs
        self.schedules = schedule_operations.Schedules(engine, jobs.transaction, jobs.kinds, jobs.backlog)

    async def register(self, **arguments: Any) -> Schedule:
        values = {"name": self.name, "kind": self.kind, "payload": {"n": 1}, "cron": DAILY, **arguments}
        async with self.engine.begin() as conn:
            await schedule_operations.register(conn, [cron.Registration(**values)])
        return await self.get()

    async def get(self) -> Schedule:
        return next(item for item in await self.schedules.list_all() if item.registration.name == self.name)

    async def fire(self) -> int:
        """Fire the due schedules; return their number."""
        return (await self.schedules.fire())[0]

    async def set(self, **values: Any) -> None:
        is_own = schema.schedules.c.name == self.name
        async with self.engine.begin() as conn:
            await conn.execute(sa.update(schema.schedules).where(is_own).values(**values))

    async def make_due(self, missed: timedelta = timedelta()) -> datetime:
        """Make the last time of `DAILY`, or a time before it, due; return that time."""
        now = datetime.now(UTC)
        today = now.replace(hour=_HOUR, minute=0, second=0, microsecond=0)
        time = (today if today <= now else today - timedelta(days=1)) - missed
        await self.set(next_at=time)
        return time

    async def fired(self) -> list[domain.Job]:
        """Return the submitted jobs, oldest first."""
        page = await self.jobs.lists.page(
            owner_id=domain.SYSTEM, states=(), kinds={self.kind}, parent_id=None, page_size=100, page_token=""
        )
        return page.jobs[::-1]

    async def claim(self) -> list[domain.Job]:
        return await self.jobs.claim(worker="w", kinds=[self.kind], limit=10)

    async def complete(self, job: domain.Job) -> None:
        await self.jobs.finish(job.job_id, job.attempt, outcomes.Completed())
