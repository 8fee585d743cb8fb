"""Jobs of the system share no lock, and are else jobs of one owner: one fair share, the same keys, a history in order."""

from __future__ import annotations

import asyncio
import importlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from chassis import errors, ids
from repruv.jobs.v1 import jobs_service_pb2
from services.jobs import domain, outcomes
from services.jobs.domain import SYSTEM
from services.jobs.operations import Operations
from services.jobs.transaction import Transaction
from tests.integration.jobs import jobs_helpers
from tests.integration.jobs.jobs_server import JobsApi

MIGRATION = importlib.import_module("services.jobs.migrations.0019_number_events_of_the_system")
ADVANCE = """INSERT INTO jobs.owners AS o (owner_id, last_sequence) VALUES (:owner, 1)
    ON CONFLICT (owner_id) DO UPDATE SET last_sequence = o.last_sequence + 1 RETURNING last_sequence"""
"""How releases before 0019 number an event of the system."""
INSERT_EVENT = """INSERT INTO jobs.job_events (owner_id, sequence, job_id, state, attempt, reason, event)
    VALUES (:owner, :sequence, :job, 'retrying', 1, 'previous', '')"""
LAST = "SELECT max(sequence) FROM jobs.job_events WHERE owner_id = :owner"
OLD_SCHEMA = """
    DROP TRIGGER number_system_event ON jobs.job_events; DROP FUNCTION jobs.number_system_event;
    DROP SEQUENCE jobs.system_event_sequence"""


@pytest.fixture
def make(kind: str) -> Callable[..., domain.Spec]:
    """Return a factory of specs of the system's jobs."""

    def spec(**fields: Any) -> domain.Spec:
        return domain.Spec(**{"kind": kind, "owner_id": SYSTEM, "payload": {}, **fields})

    return spec


@asynccontextmanager
async def uncommitted(engine: AsyncEngine, spec: domain.Spec) -> AsyncIterator[None]:
    """Hold a transaction of the system open after its last statement."""
    async with engine.connect() as conn:
        tx = Transaction(conn)
        await tx.submit([(ids.uuid7(), spec)])
        await tx.apply_effects()
        await tx.write_events()
        yield
        await conn.rollback()


async def reasons(jobs: Operations, job_id: UUID) -> list[str]:
    """Return the reasons of a job's transitions; their numbers must grow."""
    transitions = (await jobs.history(job_id, owner_id=None)).transitions
    numbers = [row["sequence"] for row in transitions]
    assert numbers == sorted(set(numbers))
    assert all(number > 0 for number in numbers)
    return [row["reason"] for row in transitions]


async def test_jobs_of_the_system_wait_for_no_other_and_tell_their_history_in_order(
    jobs: Operations, replica: Operations, jobs_engine: AsyncEngine, make: jobs_helpers.MakeSpec, kind: str
) -> None:
    user, waiting = uuid4(), make(kind=f"{kind}.handoff")
    async with uncommitted(jobs_engine, make(kind=f"{kind}.uncommitted")):
        _, (handed,) = await jobs_helpers.submit_to_waiting_call(jobs, waiting, [waiting.kind], 1)
        submits = [jobs.submit(ids.uuid7(), make()) for _ in range(10)]
        mixed = [ids.uuid7(), ids.uuid7()]
        await jobs.submit_many(list(zip(mixed, (make(), make(owner_id=user)), strict=True)))
        submitted = [*mixed, *(job.job_id for job, _ in await asyncio.gather(*submits))]
        for outcome in (outcomes.Released(), outcomes.Completed()):
            claims = (replica.claim(worker=worker, kinds=[kind], limit=6) for worker in ("w1", "w2"))
            claimed = [job for batch in await asyncio.gather(*claims) for job in batch]
            assert len(claimed) == 12
            await asyncio.gather(*(replica.finish(job.job_id, job.attempt, outcome) for job in claimed))
        cancelled, _ = await jobs.submit(ids.uuid7(), make())
        await jobs.cancel(cancelled.job_id, owner_id=None, reason="r")
        assert await reasons(jobs, handed.job_id) == ["submitted", "claimed"]
        for job_id in submitted:
            assert await reasons(jobs, job_id) == ["submitted", "claimed", "released", "claimed", "completed"]
        assert await reasons(jobs, cancelled.job_id) == ["submitted", "cancel_requested"]
    assert await jobs.last_sequences([user, SYSTEM]) == {user: 5}


async def test_all_jobs_of_the_system_have_the_share_of_one_user(
    jobs: Operations, make: jobs_helpers.MakeSpec, kind: str
) -> None:
    await jobs.submit_many([(ids.uuid7(), make()) for _ in range(300)])
    for owner_id in (uuid4(), uuid4()):
        await jobs.submit_many([(ids.uuid7(), make(owner_id=owner_id)) for _ in range(100)])
    claimed = await jobs.claim(worker="w1", kinds=[kind], limit=90)
    assert sum(job.spec.owner_id == SYSTEM for job in claimed) == 30


async def test_keys_hold_for_all_jobs_of_the_system(
    jobs: Operations, replica: Operations, make: jobs_helpers.MakeSpec, kind: str
) -> None:
    spec = make(unique_key=f"{kind}/unique")
    submits = (side.submit(ids.uuid7(), spec) for side in (jobs, replica) * 5)
    results = await asyncio.gather(*submits, return_exceptions=True)
    assert Counter(map(type, results)) == {tuple: 1, errors.AlreadyExists: 9}
    (unique,) = await jobs_helpers.claim(jobs, kind)
    await jobs_helpers.complete(jobs, unique)
    for side in (jobs, replica):
        await side.submit(ids.uuid7(), make(concurrency_key="key"))
    claims = (side.claim(worker="w1", kinds=[kind], limit=10) for side in (jobs, replica))
    assert sum(len(claimed) for claimed in await asyncio.gather(*claims)) == 1


async def test_history_keeps_its_order_while_the_previous_release_runs_beside_this_one(
    jobs: Operations, jobs_engine: AsyncEngine, make: jobs_helpers.MakeSpec, kind: str
) -> None:
    job, _ = await jobs.submit(ids.uuid7(), make())
    await jobs.claim(worker="w1", kinds=[kind], limit=1)
    async with jobs_engine.begin() as conn:
        sequence = await conn.scalar(sa.text(ADVANCE), {"owner": SYSTEM})
        await _insert(conn, sequence, job.job_id)
    await jobs.finish(job.job_id, 1, outcomes.Completed())
    assert await reasons(jobs, job.job_id) == ["submitted", "claimed", "previous", "completed"]
    async with jobs_engine.begin() as conn:
        await conn.execute(sa.text("DELETE FROM jobs.owners WHERE owner_id = :owner"), {"owner": SYSTEM})


async def test_numbers_continue_where_the_row_of_the_system_ended(jobs_engine: AsyncEngine) -> None:
    async with jobs_engine.connect() as conn:
        last = (await conn.scalar(sa.text(LAST), {"owner": SYSTEM})) or 0
        for statement in OLD_SCHEMA.split(";"):
            await conn.execute(sa.text(statement))
        await _insert(conn, last + 7, uuid4())
        await conn.execute(sa.text("SET LOCAL search_path = jobs"))
        await conn.exec_driver_sql(MIGRATION.STATEMENTS)
        await _insert(conn, 1, uuid4())
        assert await conn.scalar(sa.text(LAST), {"owner": SYSTEM}) == last + 8
        await conn.rollback()


async def test_log_of_the_system_is_refused(jobs_api: JobsApi) -> None:
    system = str(SYSTEM)
    calls = {
        "owner_id": (jobs_api.jobs.ListJobEvents, jobs_service_pb2.ListJobEventsRequest(owner_id=system)),
        "owner_ids": (
            jobs_api.jobs.BatchGetEventPositions,
            jobs_service_pb2.BatchGetEventPositionsRequest(owner_ids=[system]),
        ),
        "cursors": (
            jobs_api.jobs.BatchListJobEvents,
            jobs_service_pb2.BatchListJobEventsRequest(cursors=[jobs_service_pb2.EventCursor(owner_id=system)]),
        ),
    }
    for field, (method, request) in calls.items():
        with pytest.raises(errors.InvalidArgument, match="form no log") as excinfo:
            await jobs_api.call(method, request)
        assert excinfo.value.field == field
    with pytest.raises(errors.InvalidArgument, match="form no log"):
        await anext(jobs_api.stream(jobs_api.jobs.WatchJobs, jobs_service_pb2.WatchJobsRequest(owner_id=system)))


async def _insert(conn: AsyncConnection, sequence: int | None, job_id: UUID) -> None:
    await conn.execute(sa.text(INSERT_EVENT), {"owner": SYSTEM, "sequence": sequence, "job": job_id})
