"""Each step of every lifecycle, and of one that only these tests have."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

import worker
from chassis import ids, outbox, postgres, prepared
from dev.embedded import EmbeddedServers
from lifecycle import file_states, updates
from lifecycle.attempts import FencedAttempt
from lifecycle.declaration import Lifecycle
from lifecycle.machine import Error, JobPhase, JobUpdate, Resource
from lifecycle.settler import Settler
from lifecycle.submitter import LifecycleSubmitter
from lifecycle.unsuccessful_jobs import UnsuccessfulJobs
from repruv.jobs.v1 import job_pb2, jobs_service_pb2
from services.auth import schema as auth_schema
from services.auth.connections import domain as connections
from services.auth.connections import storage as connection_storage
from services.auth.connections.effects import Effects
from services.auth.data_export import domain as data_exports
from services.auth.data_export.declaration import DATA_EXPORT
from services.demo import domain as demo
from services.demo.declaration import DEMO_MODE
from services.demo.exports import domain as exports
from services.demo.exports.declaration import EXPORT
from services.demo.storage import NO_COUNTS
from tests.integration.lifecycle import report
from worker import JobsClient, testing

Columns = Mapping[str, Any]


class ScriptedJobs:
    """A double of the jobs service for settlers and submitters: it has the job that a test sets."""

    def __init__(self) -> None:
        self.job: job_pb2.Job | None = None
        self.unsuccessful: list[job_pb2.Job] = []
        self.submitted: list[jobs_service_pb2.SubmitJobRequest] = []

    async def get(self, job_id: str) -> job_pb2.Job | None:
        return next((job for job in self.unsuccessful if job.job_id == job_id), self.job)

    async def list_unsuccessful(self, kinds: Iterable[str], *, age: timedelta, pages: int) -> list[job_pb2.Job]:
        return [job_pb2.Job(job_id=job.job_id, version=job.version) for job in self.unsuccessful]

    async def submit_request(self, request: jobs_service_pb2.SubmitJobRequest) -> job_pb2.Job:
        self.submitted.append(request)
        return job_pb2.Job(job_id=request.job_id, spec=request.spec)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One step of one lifecycle, and what a test does to a resource in it."""

    lifecycle: Lifecycle[Any, Any]
    kind: str
    engine: AsyncEngine
    start: Callable[[], Awaitable[Resource]]
    """Returns a new resource that a job of the kind has to move."""
    complete: Callable[[], tuple[Any, Columns]]
    """Returns the last action of the handler, with the columns that the CHECKs of the table want."""
    message_statements: int = 1
    """How many statements store the messages of the last transition; 0 if nothing is published then."""
    jobs: ScriptedJobs = field(default_factory=ScriptedJobs)

    @property
    def step(self) -> Any:
        return self.lifecycle.machine.steps[self.kind]

    @property
    def relay(self) -> outbox.Relay:
        return outbox.Relay(self.engine, self.lifecycle.outbox_table, {})

    @property
    def unsuccessful(self) -> UnsuccessfulJobs:
        return UnsuccessfulJobs(cast(JobsClient, self.jobs), self.settler)

    @property
    def submitter(self) -> LifecycleSubmitter:
        return LifecycleSubmitter(self.engine, cast(JobsClient, self.jobs), self.lifecycle)

    @property
    def settler(self) -> Settler[Any, Any]:
        return Settler(
            self.lifecycle,
            engine=self.engine,
            relay=self.relay,
            jobs=cast(JobsClient, self.jobs),
            submitter=self.submitter,
        )

    def attempt(self, resource: Resource, number: int = 1, **changed: Any) -> FencedAttempt[Any, Any]:
        """An attempt of the resource's job, or of another one."""
        fields = {
            "job_id": str(resource.job_id),
            "owner_id": str(resource.key[0]),
            "kind": self.kind,
            "attempt": number,
            **changed,
        }
        payload = updates.payload(self.lifecycle.rows, resource)
        context: worker.Context = testing.RecordingContext(payload, **fields)
        return FencedAttempt(self.lifecycle, self.engine, self.relay, context)

    def update(self, resource: Resource, phase: JobPhase, **changed: Any) -> JobUpdate:
        """An update of the resource's job, newer than all that were applied."""
        assert resource.job_id
        fields: dict[str, Any] = {
            "key": resource.key,
            "job_id": resource.job_id,
            "kind": self.kind,
            "generation": resource.generation,
            "attempt": max(resource.attempt, 1),
            "version": resource.job_version + 10,
            "error": Error(code="of_the_job", message="It broke.") if phase is JobPhase.FAILED else None,
        }
        return JobUpdate(**{**fields, "phase": phase, **changed})

    def job(self, resource: Resource, state: Any, *, version: int = 50, attempt: int = 1) -> job_pb2.Job:
        """A snapshot of the resource's job."""
        spec = self.lifecycle.submit(resource).spec
        return job_pb2.Job(job_id=str(resource.job_id), spec=spec, state=state, version=version, attempt=attempt)

    async def read(self, resource: Resource) -> Any:
        async with self.engine.connect() as conn:
            return await self.lifecycle.rows.get(conn, resource.key)

    async def messages(self, resource: Resource) -> set[UUID]:
        """The messages about the resource's owner in the outbox, from which a service of another test may send them."""
        table = self.lifecycle.outbox_table
        async with self.engine.connect() as conn:
            rows = (await conn.execute(sa.select(table.c.message_id, table.c.payload))).all()
        return {row.message_id for row in rows if str(resource.key[0]).encode() in row.payload}

    @contextmanager
    def statements(self) -> Iterator[list[str]]:
        """Record the statements that are executed meanwhile."""
        recorded: list[str] = []

        def record(conn: object, cursor: object, statement: str, *rest: object) -> None:
            recorded.append(statement)

        async def record_prepared(
            statement: prepared.Prepared, *arguments: Any, **options: Any
        ) -> list[tuple[Any, ...]]:
            if arguments[0].engine.sync_engine in engines:  # services of other tests share the process
                recorded.append(statement.sql)
            return await execute(statement, *arguments, **options)

        execute = prepared.Prepared.execute
        engines = [self.engine.sync_engine, postgres.autocommit(self.engine).sync_engine]
        for engine in engines:
            event.listen(engine, "before_cursor_execute", record)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(prepared.Prepared, "execute", record_prepared)
            yield recorded
        for engine in engines:
            event.remove(engine, "before_cursor_execute", record)


@pytest.fixture(scope="session")
async def conformance(provisioned: EmbeddedServers) -> AsyncIterator[AsyncEngine]:
    """The database of the third lifecycle."""
    engine = postgres.engine(provisioned.postgres.url, name="test-conformance")
    async with engine.begin() as conn:
        await report.create_tables(conn)
    yield engine
    async with engine.begin() as conn:
        await report.drop_tables(conn)
    await engine.dispose()


@pytest.fixture(
    params=[
        *(
            "demo.enable",
            "demo.disable",
            exports.KIND,
            "auth.connect",
            "auth.disconnect",
            data_exports.KIND,
            report.KIND,
        )
    ]
)
def case(request: pytest.FixtureRequest, database: Callable[[str], AsyncEngine], conformance: AsyncEngine) -> Case:
    """Each step of each lifecycle."""
    kind: str = request.param
    if kind == exports.KIND:
        engine = database("demo")
        columns = {"demo_generation": 1, "row_count": 3}
        written = {"rows_written": 3, "chunk_count": 1, "byte_count": 9}
        return Case(
            lifecycle=EXPORT,
            kind=kind,
            engine=engine,
            start=_opener(EXPORT, engine, file_states.Action.START, columns),
            complete=lambda: (file_states.Action.COMPLETE, written),
        )
    if kind.startswith("demo."):
        return _demo_case(kind, database("demo"))
    if kind == data_exports.KIND:
        return _data_export_case(database("auth"))
    if kind.startswith("auth."):
        return _connection_case(kind, database("auth"))
    return Case(
        lifecycle=report.REPORT,
        kind=kind,
        engine=conformance,
        start=_opener(report.REPORT, conformance, report.Action.REQUEST, {}),
        complete=lambda: (report.Action.COMPLETE, {"rows_written": 7}),
    )


def _opener(
    lifecycle: Lifecycle[Any, Any], engine: AsyncEngine, action: Any, columns: Columns
) -> Callable[[], Awaitable[Resource]]:
    async def start() -> Resource:
        key = tuple(uuid4() for _ in lifecycle.rows.key_names)
        async with outbox.transaction(engine, lifecycle.outbox_table) as tx:
            opened = await lifecycle.open(tx, key, action, {"job_id": ids.uuid7(), **columns})
        assert opened
        return cast(Resource, opened)

    return start


async def _moved(case: Case, resource: Resource, action: Any, columns: Columns) -> Resource:
    async with outbox.transaction(case.engine, case.lifecycle.outbox_table) as tx:
        return cast(Resource, await case.lifecycle.move_locked(tx, resource, action, columns=columns))


def _demo_case(kind: str, engine: AsyncEngine) -> Case:
    options = {"profile_type": "brand", "niche": "food", "content_count": 1, "interaction_count": 2, "seed": 3}
    written = {"content_written": 1, "interactions_written": 2}
    columns = {**options, "expire_after": None}
    enabling = Case(
        lifecycle=DEMO_MODE,
        kind="demo.enable",
        engine=engine,
        start=_opener(DEMO_MODE, engine, demo.Action.ENABLE, columns),
        complete=lambda: (demo.Action.COMPLETE_ENABLE, {**NO_COUNTS, **written}),
    )
    if kind == enabling.kind:
        return enabling

    async def start() -> Resource:
        enabled = await _moved(enabling, await enabling.start(), *enabling.complete())
        return await _moved(enabling, enabled, demo.Action.DISABLE, {"job_id": ids.uuid7()})

    removed = {"content_removed": 1, "interactions_removed": 2}
    return Case(
        lifecycle=DEMO_MODE,
        kind=kind,
        engine=engine,
        start=start,
        complete=lambda: (demo.Action.COMPLETE_DISABLE, removed),
    )


def _connection_case(kind: str, engine: AsyncEngine) -> Case:
    lifecycle = Effects({}).lifecycle()

    async def connecting() -> Resource:
        user_id = await _insert_user(engine)
        async with outbox.transaction(engine, lifecycle.outbox_table) as tx:
            authorization = await connection_storage.begin(tx.conn, user_id, "youtube")
            assert authorization
            return await lifecycle.move_locked(
                tx, authorization, connections.Action.RETURN, columns={"job_id": ids.uuid7()}
            )

    account = connection_storage.account_columns(connections.Account(external_id=""), [])
    connect = Case(
        lifecycle=lifecycle,
        kind="auth.connect",
        engine=engine,
        start=connecting,
        complete=lambda: (connections.Action.COMPLETE_CONNECT, {"external_id": str(uuid4()), **account}),
    )
    if kind == connect.kind:
        return connect

    async def disconnecting() -> Resource:
        connected = await _moved(connect, await connecting(), *connect.complete())
        return await _moved(connect, connected, connections.Action.DISCONNECT, {"job_id": ids.uuid7()})

    return Case(
        lifecycle=lifecycle,
        kind=kind,
        engine=engine,
        start=disconnecting,
        complete=lambda: (connections.Action.COMPLETE_DISCONNECT, {}),
    )


def _data_export_case(engine: AsyncEngine) -> Case:
    async def start() -> Resource:
        user_id = await _insert_user(engine)
        async with outbox.transaction(engine, DATA_EXPORT.outbox_table) as tx:
            opened = await DATA_EXPORT.open(tx, (user_id,), file_states.Action.START, {"job_id": ids.uuid7()})
        assert opened
        return opened

    return Case(
        lifecycle=DATA_EXPORT,
        kind=data_exports.KIND,
        engine=engine,
        start=start,
        complete=lambda: (file_states.Action.COMPLETE, {"chunk_count": 1, "byte_count": 9}),
        message_statements=0,
    )


async def _insert_user(engine: AsyncEngine) -> UUID:
    user_id = uuid4()
    user = {
        "user_id": user_id,
        "email": f"{user_id}@example.org",
        "name": "",
        "role": "user",
        "password_hash": "$argon2id$",
    }
    async with engine.begin() as conn:
        await conn.execute(sa.insert(auth_schema.users).values(user))
    return user_id
