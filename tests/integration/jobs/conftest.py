"""Fixtures: the operations of the jobs service on a real database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import bus, ids, outbox, postgres, run
from services.jobs import domain, operations, schema
from tests.integration.jobs import jobs_helpers
from tests.integration.jobs.claim_calls import SOON, Callers, Eventually
from tests.integration.jobs.schedule_replica import ScheduleReplica

LEASE = timedelta(seconds=30)
LOCK_SECONDS = 30.0
IDLE_SECONDS = 60.0
"""A busy machine delays the commit that a statement waits for; `test_contention` has the times of the service."""


@pytest.fixture(scope="session")
def quiet_url(create_database: Callable[[], Callable[[str], str]]) -> str:
    """Return the URL of a separate database: in the shared one a jobs service may rescue and relay."""
    return create_database()("jobs")


@pytest.fixture(scope="session")
async def jobs_engine(quiet_url: str) -> AsyncIterator[AsyncEngine]:
    """Yield an engine of that database."""
    engine = postgres.engine(
        quiet_url, name="test-lifecycle", pool_size=40, lock_seconds=LOCK_SECONDS, idle_seconds=IDLE_SECONDS
    )
    yield engine
    await engine.dispose()


@pytest.fixture(scope="session")
def jobs(jobs_engine: AsyncEngine, nats_url: str) -> operations.Operations:
    """Return operations with an unconnected bus: these tests must not depend on NATS."""
    relay = outbox.Relay(jobs_engine, schema.outbox, {})
    return operations.Operations(jobs_engine, relay, bus.Bus(nats_url, name="test"), lease=LEASE)


@pytest.fixture
async def replica(quiet_url: str, nats_url: str) -> AsyncIterator[operations.Operations]:
    """Yield a second replica, which shares only the database with `jobs`."""
    engine = postgres.engine(quiet_url, name="test-replica", pool_size=40, lock_seconds=LOCK_SECONDS)
    relay = outbox.Relay(engine, schema.outbox, {})
    yield operations.Operations(engine, relay, bus.Bus(nats_url, name="replica"), lease=LEASE)
    await engine.dispose()


@pytest.fixture
def owner_id() -> UUID:
    """Return a new owner."""
    return uuid4()


@pytest.fixture
def kind() -> str:
    """Return a kind unique to this test: claims find only its jobs."""
    return f"demo.{uuid4().hex}"


@pytest.fixture
def spec(owner_id: UUID, kind: str) -> Callable[..., domain.Spec]:
    """Return a factory of specs of this test's kind and owner."""

    def make(**arguments: Any) -> domain.Spec:
        return domain.Spec(**{"kind": kind, "owner_id": owner_id, "payload": {"n": 1}, **arguments})

    return make


@pytest.fixture
def submit_job(jobs: operations.Operations, spec: Callable[..., domain.Spec]) -> Callable[..., Any]:
    """Return a function that submits a job of this test's kind."""

    async def submit(**arguments: Any) -> domain.Job:
        job, _ = await jobs.submit(ids.uuid7(), spec(**arguments))
        return job

    return submit


@pytest.fixture
def callers(jobs: operations.Operations, eventually: Eventually) -> Callers:
    """Return the waiting calls of the replica that submits."""
    return Callers(jobs, eventually)


@pytest.fixture
async def linked_replicas(quiet_url: str, nats_url: str, eventually: Eventually) -> AsyncIterator[list[Callers]]:
    """Yield two replicas that receive each other's wake-ups."""
    engine = postgres.engine(quiet_url, name="test-heard", lock_seconds=LOCK_SECONDS)
    replicas, connected = [], []
    async with run.Background() as background:
        for name in ("one", "other"):
            nats = bus.Bus(nats_url, name=name)
            jobs = operations.Operations(engine, outbox.Relay(engine, schema.outbox, {}), nats, lease=LEASE)
            jobs.waiters.subscribe(nats)
            connected.append(asyncio.Event())
            nats.on_connected(connected[-1].set)
            background.start(name, nats.run)
            replicas.append(Callers(jobs, eventually))
        for event in connected:
            await asyncio.wait_for(event.wait(), SOON)
        yield replicas
    await engine.dispose()


@pytest.fixture
async def schedule(jobs_engine: AsyncEngine, jobs: operations.Operations, kind: str) -> AsyncIterator[ScheduleReplica]:
    """Yield a schedule of this test, not registered yet; delete it afterwards."""
    replica = ScheduleReplica(jobs_engine, jobs, kind)
    yield replica
    async with jobs_engine.begin() as conn:
        await conn.execute(sa.delete(schema.schedules).where(schema.schedules.c.name.like(f"{kind}%")))


@pytest.fixture
def poisoned(jobs_engine: AsyncEngine) -> jobs_helpers.Poison:
    """Return a context manager that lets the database refuse a state of jobs, as a rule of another release may."""

    @asynccontextmanager
    async def poison(state: domain.State, *job_ids: UUID) -> AsyncIterator[None]:
        listed = ", ".join(f"'{job_id}'" for job_id in job_ids)
        rule = f"job_id NOT IN ({listed}) OR state <> '{state}'"
        async with jobs_engine.begin() as conn:
            await conn.execute(sa.text(f"ALTER TABLE jobs.jobs ADD CONSTRAINT poison CHECK ({rule}) NOT VALID"))
        try:
            yield
        finally:
            async with jobs_engine.begin() as conn:
                await conn.execute(sa.text("ALTER TABLE jobs.jobs DROP CONSTRAINT poison"))

    return poison
