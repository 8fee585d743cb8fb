"""Exports on a real database: chunks under the fence, resuming, cancelling, expiry, bounds, and the lines of the file."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
import sqlalchemy as sa

import worker
from chassis import errors, outbox
from lifecycle import files, rows
from lifecycle.file_states import State
from lifecycle.machine import Error, JobPhase, JobUpdate
from lifecycle.settler import Settler
from lifecycle.submitter import LifecycleSubmitter
from repruv.demo.v1 import exports_service_pb2
from services.demo import handlers as demo_handlers
from services.demo import schema as demo_schema
from services.demo.exports import csv_file, domain, handlers, operations, schema, storage
from services.demo.exports.declaration import EXPORT
from services.demo.exports.domain import Export
from tests.integration.demo.conftest import Cancelling, Crashing, Owner
from worker import JobsClient, testing

ROWS = 2_500


class Exporter:
    """The exports of an owner whose demo mode is enabled."""

    def __init__(self, owner: Owner, jobs: JobsClient) -> None:
        self.owner = owner
        self.key = (owner.owner_id,)
        self.engine = owner.engine
        relay = outbox.Relay(owner.engine, demo_schema.outbox, {})
        submitter = LifecycleSubmitter(owner.engine, jobs, EXPORT)
        self.settler = Settler(EXPORT, engine=owner.engine, relay=relay, jobs=jobs, submitter=submitter)
        self.operations = operations.Operations(owner.engine, self.settler, relay)

    async def start(self, key: str = "") -> operations.Accepted:
        return await self.operations.start(self.owner.owner_id, key=key)

    async def export(self) -> Export:
        async with self.engine.connect() as conn:
            return await storage.EXPORTS.get(conn, self.key)

    async def context(
        self, attempt: int = 1, kind: type[testing.RecordingContext] = testing.RecordingContext
    ) -> worker.Context:
        export = await self.export()
        return kind(
            job_id=str(export.job_id),
            owner_id=str(self.owner.owner_id),
            kind=domain.KIND,
            attempt=attempt,
            payload={"generation": float(export.generation)},
        )

    async def run(self, attempt: int = 1) -> Export:
        await handlers.export(self.owner.dependencies, await self.context(attempt))
        return await self.export()

    async def file(self) -> bytes:
        return b"".join([data async for data in await self.operations.download(self.owner.owner_id)])

    async def rows(self) -> list[dict[str, str]]:
        return list(csv.DictReader(io.StringIO((await self.file()).decode(), newline="")))

    async def chunks(self) -> list[tuple[int, int]]:
        """The generation and position of each chunk."""
        columns = schema.export_chunks.c
        statement = sa.select(columns.generation, columns.position).where(columns.owner_id == self.owner.owner_id)
        async with self.engine.connect() as conn:
            return [tuple(row) for row in await conn.execute(statement.order_by(columns.generation, columns.position))]

    async def settle(self, phase: JobPhase, *, attempt: int = 1, version: int = 100) -> Export:
        export = await self.export()
        assert export.job_id
        error = Error(code="broken", message="It broke.") if phase is JobPhase.FAILED else None
        update = JobUpdate(
            key=self.key,
            job_id=export.job_id,
            kind=domain.KIND,
            generation=export.generation,
            phase=phase,
            attempt=attempt,
            version=version,
            error=error,
        )
        return await self.settler.settle(update)

    async def age(self, by: timedelta) -> None:
        changed_at = schema.exports.c.changed_at - by
        statement = sa.update(schema.exports).where(schema.exports.c.owner_id == self.owner.owner_id)
        async with self.engine.begin() as conn:
            await conn.execute(statement.values(changed_at=changed_at))

    async def reasons(self) -> list[str]:
        """The reasons of the events in the outbox, oldest first."""
        columns = demo_schema.outbox.c
        statement = sa.select(columns.payload).where(columns.subject == f"demo.events.exports.{self.owner.owner_id}")
        async with self.engine.connect() as conn:
            payloads = (await conn.execute(statement.order_by(columns.message_id))).scalars().all()
        return [exports_service_pb2.ExportEvent.FromString(payload).reason for payload in payloads]


@pytest.fixture
async def exporter(owner: Owner, silent_jobs: JobsClient) -> Exporter:
    """An owner with 2,500 visible interactions, written and exported 700 at a time."""
    await owner.enabled(interactions=ROWS)
    return Exporter(owner, silent_jobs)


async def test_the_file_has_the_visible_rows_in_chunks(exporter: Exporter) -> None:
    accepted = await exporter.start()
    assert (accepted.export.state, accepted.export.row_count) == (State.EXPORTING, ROWS)
    ready = await exporter.run()
    assert (ready.state, ready.rows_written, ready.chunk_count) == (State.READY, ROWS, 4)
    assert ready.expires_at
    assert ready.changed_at
    assert ready.expires_at - ready.changed_at == timedelta(days=7)
    assert len(await exporter.file()) == ready.byte_count
    _, interactions, _ = await exporter.owner.stored()
    rows = await exporter.rows()
    assert [row["text"] for row in rows] == [csv_file._cell(interaction.text) for interaction in interactions]
    assert tuple(rows[0]) == csv_file.COLUMNS
    assert all(row["content_title"] for row in rows)
    assert await exporter.reasons() == ["export_accepted", "exported"]


async def test_export_without_rows_has_only_the_header(owner: Owner, silent_jobs: JobsClient) -> None:
    await owner.enabled(interactions=0)
    exporter = Exporter(owner, silent_jobs)
    await exporter.start()
    assert (await exporter.run()).state is State.READY
    assert await exporter.file() == (",".join(csv_file.COLUMNS) + "\r\n").encode()


async def test_the_next_attempt_continues_after_the_last_chunk(exporter: Exporter) -> None:
    await exporter.start()
    with pytest.raises(RuntimeError, match="dies here"):
        await handlers.export(exporter.owner.dependencies, await exporter.context(kind=Crashing))
    crashed = await exporter.export()
    assert (crashed.state, crashed.rows_written, crashed.chunk_count) == (State.EXPORTING, 700, 1)
    context = await exporter.context(2)
    await handlers.export(exporter.owner.dependencies, context)
    assert context.latest_progress
    assert context.latest_progress.done == ROWS
    assert [position for _, position in await exporter.chunks()] == [0, 1, 2, 3]
    assert len(await exporter.rows()) == ROWS


async def test_superseded_attempt_writes_nothing(exporter: Exporter) -> None:
    await exporter.start()
    late = await exporter.context(1)
    ready = await exporter.run(2)
    with pytest.raises(worker.Cancelled):
        await handlers.export(exporter.owner.dependencies, await _of_other_job(late))
    assert await exporter.export() == ready


async def _of_other_job(context: worker.Context) -> worker.Context:
    return testing.RecordingContext(
        owner_id=context.owner_id, kind=context.kind, attempt=context.attempt, payload=context.payload
    )


async def test_a_cancelled_export_leaves_no_file(exporter: Exporter) -> None:
    await exporter.start()
    with pytest.raises(worker.Cancelled):
        await handlers.export(exporter.owner.dependencies, await exporter.context(kind=Cancelling))
    assert len(await exporter.chunks()) == 1
    cancelled = await exporter.settle(JobPhase.CANCELLED)
    assert (cancelled.state, cancelled.rows_written, cancelled.chunk_count) == (State.NONE, 0, 0)
    assert await exporter.chunks() == []
    # A retry of the cancelled job begins from the first row.
    assert (await exporter.run(2)).state is State.READY
    assert len(await exporter.rows()) == ROWS
    assert await exporter.reasons() == ["export_accepted", "export_cancelled", "export_resumed", "exported"]


async def test_a_retry_of_a_failed_export_keeps_its_chunks(exporter: Exporter) -> None:
    await exporter.start()
    with pytest.raises(RuntimeError):
        await handlers.export(exporter.owner.dependencies, await exporter.context(kind=Crashing))
    failed = await exporter.settle(JobPhase.FAILED)
    assert (failed.state, failed.error, failed.rows_written) == (
        State.FAILED,
        Error(code="broken", message="It broke."),
        700,
    )
    with pytest.raises(errors.NotFound):
        await exporter.file()
    ready = await exporter.run(2)
    assert (ready.state, ready.error, ready.chunk_count) == (State.READY, None, 4)
    assert len(await exporter.rows()) == ROWS


@pytest.mark.parametrize(("phase", "state"), [(JobPhase.CANCELLED, State.NONE), (JobPhase.FAILED, State.FAILED)])
async def test_export_whose_last_chunk_was_not_reported_follows_its_job_and_can_be_retried(
    exporter: Exporter, phase: JobPhase, state: State
) -> None:
    await exporter.start()
    await exporter.run()
    settled = await exporter.settle(phase)
    assert (settled.state, settled.expires_at) == (state, None)
    with pytest.raises(errors.NotFound):
        await exporter.file()
    assert (await exporter.run(2)).state is State.READY
    assert len(await exporter.rows()) == ROWS


async def test_a_new_export_replaces_the_old_one(exporter: Exporter) -> None:
    await exporter.start()
    superseded = await exporter.context()
    await exporter.run()
    download = await exporter.operations.download(exporter.owner.owner_id)
    await anext(download)
    await exporter.start()
    assert await exporter.chunks() == []
    with pytest.raises(errors.Aborted, match="replaced"):
        await anext(download)
    with pytest.raises(worker.Cancelled):
        await handlers.export(exporter.owner.dependencies, superseded)
    assert (await exporter.run()).state is State.READY
    assert {generation for generation, _ in await exporter.chunks()} == {2}


async def test_only_one_export_at_a_time(exporter: Exporter) -> None:
    await exporter.start()
    with pytest.raises(errors.FailedPrecondition) as excinfo:
        await exporter.start()
    assert excinfo.value.code == "export_running"


async def test_the_same_key_returns_the_same_job(exporter: Exporter) -> None:
    first = await exporter.start("k")
    again = await exporter.start("k")
    assert (again.job_id, again.is_replayed, first.is_replayed) == (first.job_id, True, False)
    await exporter.owner.disable("other")
    with pytest.raises(errors.AlreadyExists) as excinfo:
        await exporter.start("other")
    assert excinfo.value.code == "idempotency_key_reused"


async def test_export_without_demo_mode_is_refused(owner: Owner, silent_jobs: JobsClient) -> None:
    exporter = Exporter(owner, silent_jobs)
    with pytest.raises(errors.FailedPrecondition) as excinfo:
        await exporter.start()
    assert excinfo.value.code == "demo_not_enabled"
    assert (await exporter.operations.get(owner.owner_id)).state is State.NONE


@pytest.mark.parametrize("is_enabled_again", [False, True])
async def test_rows_hidden_during_the_export_are_not_exported(exporter: Exporter, is_enabled_again: bool) -> None:
    await exporter.start()
    with pytest.raises(RuntimeError):
        await handlers.export(exporter.owner.dependencies, await exporter.context(kind=Crashing))
    await exporter.owner.disable()
    if is_enabled_again:
        await demo_handlers.disable(exporter.owner.dependencies, await exporter.owner.context())
        await exporter.owner.enabled(interactions=ROWS)
    with pytest.raises(worker.JobFailed) as excinfo:
        await exporter.run(2)
    assert (excinfo.value.code, excinfo.value.retryable) == ("demo_not_enabled", False)
    assert (await exporter.export()).rows_written == 700


async def test_a_file_expires_after_seven_days(exporter: Exporter) -> None:
    await exporter.start()
    await exporter.run()
    late = await exporter.context(2)
    await exporter.age(timedelta(days=7) - timedelta(minutes=1))
    await exporter.operations.expire()
    assert (await exporter.export()).state is State.READY
    await exporter.age(timedelta(minutes=2))
    await exporter.operations.expire()
    expired = await exporter.export()
    assert (expired.state, expired.expires_at, expired.byte_count) == (State.NONE, None, 0)
    assert await exporter.chunks() == []
    with pytest.raises(worker.Cancelled):
        await handlers.export(exporter.owner.dependencies, late)


async def test_file_that_cannot_be_deleted_keeps_no_other_from_its_end(
    exporter: Exporter, make_owner: Callable[..., Owner], silent_jobs: JobsClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "EXPIRED_BATCH", 1)
    monkeypatch.setattr(files, "MAX_FAILURES", 2)
    monkeypatch.setattr(rows, "RETAKE_AFTER", timedelta())
    locked = Exporter(make_owner(), silent_jobs)
    await locked.owner.enabled(interactions=700)
    for each, days in ((locked, 9), (exporter, 8)):
        await each.start()
        await each.run()
        await each.age(timedelta(days=days))
    async with exporter.engine.connect() as conn:
        chunks = sa.select(schema.export_chunks.c.position).where(
            schema.export_chunks.c.owner_id == locked.owner.owner_id
        )
        await conn.execute(chunks.with_for_update())
        await exporter.operations.expire()
        assert (await exporter.export()).state is State.NONE
        assert (await locked.export()).state is State.READY
    await exporter.operations.expire()
    assert (await locked.export()).state is State.NONE


async def test_export_of_a_too_large_file_fails(exporter: Exporter) -> None:
    await exporter.start()
    with pytest.raises(worker.JobFailed) as excinfo:
        await handlers.export(exporter.owner.dependencies, await exporter.context(), max_bytes=100_000)
    assert (excinfo.value.code, excinfo.value.retryable) == ("export_too_large", False)
    assert (await exporter.export()).byte_count <= 100_000


async def test_other_owners_cannot_read_the_file(exporter: Exporter) -> None:
    await exporter.start()
    await exporter.run()
    with pytest.raises(errors.NotFound) as excinfo:
        await exporter.operations.download(uuid4())
    assert excinfo.value.code == "export_not_found"


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("a=1", "a=1"),
        ("", ""),
        ('say "hi",\nbye', 'say "hi",\nbye'),
        ("Größe 🎉", "Größe 🎉"),
    ],
)
def test_no_cell_is_a_formula_and_every_text_survives(text: str, cell: str) -> None:
    row = dict.fromkeys(csv_file.COLUMNS, text)
    data = csv_file.encode([row], has_header=False)
    assert data.endswith(b"\r\n")
    [parsed] = csv.reader(io.StringIO(data.decode(), newline=""))
    assert parsed == [cell] * len(csv_file.COLUMNS)


def test_bounds_of_database_and_domain_are_equal() -> None:
    migration = Path(demo_schema.__file__).parent / "migrations" / "0004_create_exports.py"
    statements = migration.read_text()
    for bound in (domain.MAX_ROWS, domain.MAX_BYTES, domain.MAX_CHUNK_BYTES):
        assert f" {bound}" in statements
