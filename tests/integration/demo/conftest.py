"""The demo service on a real database, with the real jobs service or with one that is down."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

import worker
from chassis import outbox
from dev import subprocesses
from lifecycle.machine import Error, JobPhase, JobUpdate
from lifecycle.settler import Settler
from lifecycle.submitter import LifecycleSubmitter
from repruv.demo.v1 import demo_events_pb2
from repruv.jobs.v1 import jobs_service_pb2
from services.demo import dataset, domain, handlers, operations, options, rows, schema, storage, views
from services.demo.declaration import DEMO_MODE
from services.demo.domain import Action, Mode
from worker import JobsClient, testing
from worker import outbox as worker_outbox

Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]


@pytest.fixture(scope="session")
def engine(database: Callable[[str], AsyncEngine]) -> AsyncEngine:
    """An engine with the role of the demo service."""
    return database("demo")


@pytest.fixture
def owner_id() -> UUID:
    """A new owner."""
    return uuid4()


@pytest.fixture
async def silent_jobs(jobs_of: Callable[[str, str], JobsClient]) -> JobsClient:
    """A jobs service that is down."""
    return jobs_of("demo", f"127.0.0.1:{subprocesses.free_port()}")


@pytest.fixture
async def jobs(jobs_of: Callable[[str, str], JobsClient], jobs_target: str) -> JobsClient:
    """The real jobs service."""
    return jobs_of("demo", jobs_target)


@pytest.fixture
def cancel_job(cancel_job_of: Callable[[str, str], Awaitable[None]]) -> Callable[[UUID], Awaitable[None]]:
    """Cancel a job in the real jobs service once it is submitted there."""
    return lambda job_id: cancel_job_of("demo", str(job_id))


@pytest.fixture
def demo(engine: AsyncEngine, silent_jobs: JobsClient) -> Demo:
    """Demo mode while the jobs service is down: its guarantees must not depend on the jobs service."""
    return make_demo(engine, silent_jobs)


@pytest.fixture
def demo_with_jobs(engine: AsyncEngine, jobs: JobsClient) -> Demo:
    """Demo mode beside the real jobs service; no worker runs its jobs."""
    return make_demo(engine, jobs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """The objects of demo mode over one jobs service."""

    operations: operations.Operations
    settler: Settler[Mode, Action]
    relay: outbox.Relay


def make_demo(engine: AsyncEngine, jobs: JobsClient) -> Demo:
    """Build demo mode with a relay that submits jobs after the commit, but neither polls nor publishes."""
    submitter = LifecycleSubmitter(engine, jobs, DEMO_MODE)
    relay = outbox.Relay(engine, schema.outbox, {worker_outbox.PREFIX: submitter.send})
    settler = Settler(DEMO_MODE, engine=engine, relay=relay, jobs=jobs, submitter=submitter)
    return Demo(operations=operations.Operations(engine, settler, relay), settler=settler, relay=relay)


@pytest.fixture
def visible_rows(engine: AsyncEngine) -> views.Views:
    """The visible rows."""
    return views.Views(engine)


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """An owner, with actions on and views of the owner's demo mode."""

    owner_id: UUID
    engine: AsyncEngine
    demo: Demo
    dependencies: handlers.Dependencies

    async def enable(self, content: int = 12, interactions: int = 2_500, key: str = "") -> operations.Accepted:
        return await self.demo.operations.enable(
            self.owner_id,
            profile_type="creator",
            niche="food",
            content_count=content,
            interaction_count=interactions,
            key=key,
        )

    async def disable(self, key: str = "") -> operations.Accepted:
        return await self.demo.operations.disable(self.owner_id, key=key)

    async def enabled(self, content: int = 12, interactions: int = 2_500) -> operations.Accepted:
        accepted = await self.enable(content, interactions)
        await handlers.enable(self.dependencies, await self.context())
        return accepted

    async def context(
        self, attempt: int = 1, kind: type[testing.RecordingContext] = testing.RecordingContext
    ) -> worker.Context:
        """The context of an attempt of the current job."""
        mode = await self.mode()
        return kind(
            job_id=str(mode.job_id),
            owner_id=str(self.owner_id),
            kind=mode.job_kind or "",
            attempt=attempt,
            payload={"generation": float(mode.generation)},
        )

    async def mode(self) -> domain.Mode:
        async with self.engine.connect() as conn:
            return await storage.get_mode(conn, self.owner_id)

    async def settle(self, update: JobUpdate) -> Mode:
        return await self.demo.settler.settle(update)

    async def update(self, phase: JobPhase, *, attempt: int = 1, version: int = 100) -> JobUpdate:
        """An update of the current job."""
        mode = await self.mode()
        assert mode.job_id
        assert mode.job_kind
        return JobUpdate(
            key=(self.owner_id,),
            job_id=mode.job_id,
            kind=mode.job_kind,
            generation=mode.generation,
            phase=phase,
            attempt=attempt,
            version=version,
            error=Error(code="broken", message="It broke.") if phase is JobPhase.FAILED else None,
        )

    async def counts(self) -> tuple[int, int]:
        """The number of content items and of interactions, visible or not."""
        async with self.engine.connect() as conn:
            counts = [
                (await conn.execute(sa.select(sa.func.count()).where(table.c.owner_id == self.owner_id))).scalar_one()
                for table in (schema.content, schema.interactions)
            ]
        return counts[0], counts[1]

    async def stored(self) -> tuple[list[dataset.ContentItem], list[dataset.Interaction], set[int]]:
        """All stored rows with their generations."""
        async with self.engine.connect() as conn:
            tables = (schema.content, schema.interactions)
            content, interactions = [
                (await conn.execute(sa.select(t).where(t.c.owner_id == self.owner_id).order_by(t.c.position))).all()
                for t in tables
            ]
        return (
            [dataset.ContentItem(*row[2:]) for row in content],
            [dataset.Interaction(*row[2:]) for row in interactions],
            {row.generation for row in (*content, *interactions)},
        )

    async def asked_for(self) -> tuple[list[dataset.ContentItem], list[dataset.Interaction], set[int]]:
        """The expected rows."""
        mode = await self.mode()
        spec = options.spec(mode)
        items = dataset.content(spec)
        chunks = range(-(-spec.interaction_count // dataset.INTERACTION_CHUNK))
        return items, [row for chunk in chunks for row in dataset.interactions(spec, items, chunk)], {mode.generation}

    async def write_strays(self, generation: int, content: int = 5) -> None:
        """Write rows as a crash could leave them."""
        items = dataset.content(options.spec(await self.mode()))[:content]
        async with self.engine.begin() as conn:
            await rows.write_content(conn, self.owner_id, generation, items)

    async def published_events(self) -> list[tuple[str, int]]:
        """The events that wait in the outbox, as (reason, version), oldest first."""
        async with self.engine.connect() as conn:
            statement = sa.select(schema.outbox.c.payload).order_by(schema.outbox.c.message_id)
            subject = f"demo.events.{self.owner_id}"
            payloads = (await conn.execute(statement.where(schema.outbox.c.subject == subject))).scalars()
            events = [demo_events_pb2.DemoEvent.FromString(payload) for payload in payloads]
        return [(event.reason, event.demo.version) for event in events]

    async def has_job(self) -> bool:
        """Whether the job that was accepted last has reached the jobs service."""
        _, job = await self.demo.operations.get(self.owner_id)
        return job is not None

    async def kept_submits(self) -> list[jobs_service_pb2.SubmitJobRequest]:
        """The submits that wait in the outbox."""
        async with self.engine.connect() as conn:
            statement = sa.select(schema.outbox.c.payload).where(schema.outbox.c.subject == worker_outbox.SUBJECT)
            payloads = (await conn.execute(statement)).scalars()
            requests = [jobs_service_pb2.SubmitJobRequest.FromString(payload) for payload in payloads]
        return [request for request in requests if request.spec.owner_id == str(self.owner_id)]


@pytest.fixture
def dependencies(engine: AsyncEngine, demo: Demo) -> handlers.Dependencies:
    """Handlers with small batches, so that little data takes several transactions."""
    return handlers.Dependencies(engine=engine, relay=demo.relay, write_batch=700, remove_batch=700)


@pytest.fixture
def make_owner(engine: AsyncEngine, demo: Demo, dependencies: handlers.Dependencies) -> Callable[..., Owner]:
    """Make a new owner."""

    def make(**arguments: Any) -> Owner:
        parts = {"owner_id": uuid4(), "engine": engine, "demo": demo, "dependencies": dependencies}
        return Owner(**{**parts, **arguments})

    return make


@pytest.fixture
def owner(make_owner: Callable[..., Owner]) -> Owner:
    """A new owner."""
    return make_owner()


class Crashing(testing.RecordingContext):
    """A context whose handler dies when it has reported this much progress, right after the previous transaction."""

    dies_at = 700

    async def progress(self, done: int, total: int = 0, message: str = "") -> None:
        await super().progress(done, total, message)
        if done >= self.dies_at:
            raise RuntimeError("the worker dies here")


class Cancelling(testing.RecordingContext):
    """A context that is cancelled when it has reported this much progress."""

    stops_at = 700

    async def progress(self, done: int, total: int = 0, message: str = "") -> None:
        await super().progress(done, total, message)
        if done >= self.stops_at:
            self.cancelled.set()


class Paused(testing.RecordingContext):
    """A context whose handler blocks when it has reported this much progress, until `go` is set."""

    pauses_at = 700

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.stands = asyncio.Event()
        self.go = asyncio.Event()

    async def progress(self, done: int, total: int = 0, message: str = "") -> None:
        await super().progress(done, total, message)
        if done >= self.pauses_at:
            self.stands.set()
            await self.go.wait()
