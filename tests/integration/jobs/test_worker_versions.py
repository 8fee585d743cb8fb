"""Two versions of a worker at once, as during a rolling restart. Time passes by shifting rows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from services.jobs import domain, kinds, outcomes, schema, worker_versions
from services.jobs.domain import State
from services.jobs.operations import Operations
from services.jobs.schedules import cron
from services.jobs.schedules import operations as schedule_operations
from tests.integration.jobs import jobs_helpers

OLD, NEW = "1 0 * * *", "2 0 * * *"
UNREAD = outcomes.Failed(error=domain.JobError(code="payload_invalid", message="url: Field required."), retryable=False)


class Program:
    """Workers of one kind with one schedule, in any version."""

    def __init__(self, engine: AsyncEngine, jobs: Operations, kind: str) -> None:
        self.engine = engine
        self.jobs = jobs
        self.kind = kind

    async def register(self, version: str, *, attempts: int, cron_expression: str = OLD, name: str = "") -> None:
        """Register a worker of a version."""
        schedule = cron.Registration(name=f"{self.kind}.s", kind=self.kind, payload={}, cron=cron_expression)
        registration = kinds.Registration(kind=self.kind, defaults={"max_attempts": attempts})
        info = kinds.WorkerInfo(version=version)
        await self.jobs.register(name or f"{self.kind}-{version}", [registration], [schedule], info)

    async def registered(self) -> tuple[int, str]:
        """Return the registered max_attempts and cron expression."""
        stored = (await self.jobs.kinds.get([self.kind]))[self.kind]
        schedules = schedule_operations.Schedules(
            self.engine, self.jobs.transaction, self.jobs.kinds, self.jobs.backlog
        )
        return stored.defaults["max_attempts"], (await schedules.get(f"{self.kind}.s")).schedule.registration.cron

    async def shift(self, version: str, **columns: timedelta) -> None:
        """Move times of the workers of a version into the past."""
        workers = schema.workers
        values = {name: workers.c[name] - age for name, age in columns.items()}
        is_own = sa.and_(workers.c.version == version, workers.c.kinds == [self.kind])
        async with self.engine.begin() as conn:
            await conn.execute(sa.update(workers).where(is_own).values(**values))

    async def unread(self, version: str) -> domain.Job:
        """Claim the job as a worker of a version, and report that it cannot read the payload."""
        job = (await self.jobs.claim(worker=f"{self.kind}-{version}", kinds=[self.kind], limit=1))[0]
        return await self.jobs.finish(job.job_id, job.attempt, UNREAD)


@pytest.fixture
async def program(jobs_engine: AsyncEngine, jobs: Operations, kind: str) -> AsyncIterator[Program]:
    """Yield the workers of this test's kind; delete their schedule afterwards."""
    yield Program(jobs_engine, jobs, kind)
    async with jobs_engine.begin() as conn:
        await conn.execute(sa.delete(schema.schedules).where(schema.schedules.c.name == f"{kind}.s"))


async def test_older_worker_registers_nothing_over_a_newer_one(program: Program) -> None:
    await program.register("old", attempts=3)
    await program.register("new", attempts=7, cron_expression=NEW)
    assert await program.registered() == (7, NEW)
    await program.register("old", attempts=3)
    # A worker of the old version that restarts is no newer than the first one.
    await program.register("old", attempts=3, name="restarted")
    assert await program.registered() == (7, NEW)


async def test_older_worker_registers_the_kinds_that_newer_ones_lack(program: Program, jobs: Operations) -> None:
    await program.register("old", attempts=3)
    await program.register("new", attempts=7)
    dropped = kinds.Registration(kind=f"{program.kind}.dropped", defaults={"max_attempts": 4})
    registrations = [kinds.Registration(kind=program.kind, defaults={"max_attempts": 3}), dropped]
    await jobs.register(f"{program.kind}-old", registrations, [], kinds.WorkerInfo(version="old"))
    assert (await program.registered())[0] == 7
    assert (await jobs.kinds.get([dropped.kind]))[dropped.kind].defaults["max_attempts"] == 4


async def test_version_that_returns_registers_again(program: Program) -> None:
    await program.register("old", attempts=3)
    await program.register("new", attempts=7, cron_expression=NEW)
    # Rolled back while workers of the old version still ran: it waits until the new one is gone.
    await program.shift("new", seen_at=worker_versions.ALIVE)
    await program.register("old", attempts=3)
    assert await program.registered() == (3, OLD)
    # Rolled back after all of them had gone: it is the newest at once.
    await program.register("new", attempts=7, cron_expression=NEW)
    await program.shift("old", seen_at=worker_versions.ALIVE)
    await program.register("old", attempts=3, name="rolled-back")
    assert await program.registered() == (3, OLD)


async def test_registrations_of_two_versions_at_once_leave_those_of_the_newer_one(
    program: Program, jobs_engine: AsyncEngine, jobs: Operations, eventually: Callable[..., Any]
) -> None:
    await program.register("old", attempts=3)
    newer = kinds.Registration(kind=program.kind, defaults={"max_attempts": 7})
    waits = sa.text(
        "SELECT count(*) > 0 FROM pg_stat_activity"
        " WHERE wait_event_type = 'Lock' AND query LIKE '%jobs.%' AND datname = current_database()"
    )
    async with jobs_engine.begin() as conn:
        await kinds.register(conn, "new", [newer], kinds.WorkerInfo(version="new"))
        older = asyncio.create_task(program.register("old", attempts=3))

        async def is_waiting() -> bool:
            async with jobs_engine.connect() as other:
                return bool((await other.execute(waits)).scalar_one())

        await eventually(is_waiting)
    await older
    jobs.kinds.forget()
    assert (await program.registered())[0] == 7


async def test_payload_of_a_newer_version_waits_for_its_worker(
    program: Program, submit_job: Callable[..., Any], jobs_engine: AsyncEngine, jobs: Operations
) -> None:
    await program.register("old", attempts=1)
    await program.register("new", attempts=1)
    job = await submit_job()
    postponed = await program.unread("old")
    assert (postponed.state, postponed.max_attempts) == (State.SCHEDULED, job.max_attempts + 1)
    await jobs_helpers.come_due(jobs, jobs_engine, job.job_id)
    assert (await program.unread("new")).state is State.FAILED


@pytest.mark.parametrize(
    "shifted", [{"seen_at": worker_versions.ALIVE}, {"registered_at": worker_versions.ROLLOUT}], ids=["gone", "long"]
)
async def test_invalid_payload_fails_its_job_after_the_rollout(
    shifted: dict[str, timedelta], program: Program, submit_job: Callable[..., Any]
) -> None:
    await program.register("old", attempts=1)
    await program.shift("old", registered_at=2 * worker_versions.ROLLOUT)
    await program.register("new", attempts=1)
    await program.shift("new", **shifted)
    await submit_job()
    failed = await program.unread("old")
    assert (failed.state, failed.error and failed.error.code) == (State.FAILED, "payload_invalid")
