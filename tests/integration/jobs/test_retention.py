"""Retention: deleted rows, kept rows, and the cost of a deletion."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import errors, ids, postgres
from repruv.jobs.v1 import job_events_pb2
from services.jobs import domain, kinds, operations, outcomes, retention, schema
from services.jobs.domain import Job
from tests.integration.jobs import jobs_helpers

WEEK = timedelta(days=7)

Ended = Callable[..., Awaitable[Job]]


@pytest.fixture
def ended(jobs: operations.Operations, jobs_engine: AsyncEngine, spec: Callable[..., domain.Spec], kind: str) -> Ended:
    """Make an ended job of this test's kind with the given age."""

    async def make(age: timedelta, **parameters: Any) -> Job:
        job, _ = await jobs.submit(ids.uuid7(), spec(**parameters))
        [claimed_job] = await jobs.claim(worker="w", kinds=[kind], limit=1)
        assert claimed_job.job_id == job.job_id
        await jobs.reports.save_checkpoint(job.job_id, 1, "done", 1)
        await jobs.finish(job.job_id, 1, outcomes.Completed())
        await age_job(jobs_engine, job.job_id, age)
        return job

    return make


@pytest.fixture
def clean(jobs_engine: AsyncEngine) -> Callable[..., Awaitable[tuple[retention.Deleted, list[int]]]]:
    """Clean without pauses; return the counts of deleted rows and the reported progress."""

    async def call(**parameters: Any) -> tuple[retention.Deleted, list[int]]:
        reported: list[int] = []

        async def report(count: int) -> None:
            reported.append(count)

        return await retention.clean(jobs_engine, report, pause_seconds=0.0, **parameters), reported

    return call


Clean = Callable[..., Awaitable[tuple[retention.Deleted, list[int]]]]


@pytest.fixture
async def slow_deletion(jobs_engine: AsyncEngine, quiet_url: str, kind: str) -> AsyncIterator[AsyncEngine]:
    """Let the deletion of each job of the kind take a while; yield an engine whose statements may take twenty times as long."""
    async with jobs_engine.begin() as conn:
        await conn.execute(
            sa.text("""
                CREATE FUNCTION jobs.wait() RETURNS trigger LANGUAGE plpgsql AS $$
                BEGIN PERFORM pg_sleep(0.05); RETURN OLD; END $$
            """)
        )
        await conn.execute(
            sa.text(f"""
                CREATE TRIGGER wait BEFORE DELETE ON jobs.jobs FOR EACH ROW WHEN (OLD.kind = '{kind}')
                EXECUTE FUNCTION jobs.wait()
            """)
        )
    engine = postgres.engine(quiet_url, name="test-impatient")

    def limit(conn: sa.Connection) -> None:
        conn.exec_driver_sql("SET LOCAL statement_timeout = 1000")

    sa.event.listen(engine.sync_engine, "begin", limit)
    yield engine
    await engine.dispose()
    async with jobs_engine.begin() as conn:
        await conn.execute(sa.text("DROP TRIGGER wait ON jobs.jobs; DROP FUNCTION jobs.wait()"))


async def test_jobs_that_take_long_to_delete_are_deleted_in_smaller_batches(
    slow_deletion: AsyncEngine,
    jobs: operations.Operations,
    jobs_engine: AsyncEngine,
    spec: jobs_helpers.MakeSpec,
    owner_id: UUID,
) -> None:
    """Log lines are deleted with their job: a thousand jobs with many would exceed the time of a statement, each time."""
    await jobs.submit_many([(ids.uuid7(), spec()) for _ in range(30)])
    async with jobs_engine.begin() as conn:
        ended = "state = 'cancelled', ready = false, cancel_reason = 'r', finished_at = now() - interval '8 days'"
        statement = sa.text(f"UPDATE jobs.jobs SET {ended} WHERE owner_id = :owner_id")
        await conn.execute(statement, {"owner_id": owner_id})

    async def report(count: int) -> None:
        del count

    deleted = await retention.clean(slow_deletion, report, pause_seconds=0.0)
    assert (deleted.jobs, deleted.is_complete) == (30, True)


async def test_job_that_the_database_refuses_to_delete_keeps_no_other_in_the_table(
    jobs_engine: AsyncEngine, ended: Ended, clean: Clean
) -> None:
    before, refused, after = [await ended(timedelta(days=age)) for age in (12, 11, 10)]
    function = "CREATE FUNCTION jobs.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'refused'; END $$"
    condition = f"WHEN (OLD.job_id = '{refused.job_id}') EXECUTE FUNCTION jobs.refuse()"
    async with jobs_engine.begin() as conn:
        await conn.execute(sa.text(function))
        await conn.execute(sa.text(f"CREATE TRIGGER refuse BEFORE DELETE ON jobs.jobs FOR EACH ROW {condition}"))
    positions: dict[str, retention.Position] = {}
    await clean(positions=positions)
    assert [(await rows_of(jobs_engine, job.job_id))["jobs"] for job in (before, refused, after)] == [0, 1, 0]
    async with jobs_engine.begin() as conn:
        await conn.execute(sa.text("DROP TRIGGER refuse ON jobs.jobs; DROP FUNCTION jobs.refuse()"))
    await clean(positions=positions)
    assert await rows_of(jobs_engine, refused.job_id) == GONE


async def age_job(engine: AsyncEngine, job_id: UUID, age: timedelta) -> None:
    statement = sa.update(schema.jobs).where(schema.jobs.c.job_id == job_id)
    async with engine.begin() as conn:
        await conn.execute(statement.values(finished_at=sa.func.now() - age))


async def rows_of(engine: AsyncEngine, job_id: UUID) -> dict[str, int]:
    """Count the rows of a job by table."""
    tables = (schema.jobs, schema.attempts, schema.checkpoints, schema.job_events)
    async with engine.connect() as conn:
        return {
            table.name: (
                await conn.execute(sa.select(sa.func.count()).select_from(table).where(table.c.job_id == job_id))
            ).scalar_one()
            for table in tables
        }


GONE = {"jobs": 0, "attempts": 0, "checkpoints": 0, "job_events": 0}
THERE = {"jobs": 1, "attempts": 1, "checkpoints": 1, "job_events": 3}


async def test_ended_jobs_are_deleted_with_all_rows_after_seven_days(
    jobs_engine: AsyncEngine, ended: Ended, clean: Clean
) -> None:
    old = await ended(WEEK + timedelta(minutes=1))
    young = await ended(WEEK - timedelta(minutes=1))
    deleted, reported = await clean()
    assert await rows_of(jobs_engine, old.job_id) == GONE
    assert await rows_of(jobs_engine, young.job_id) == THERE
    assert deleted.jobs >= 1
    assert deleted.is_complete
    assert reported[-1] == deleted.jobs


async def test_next_call_begins_where_the_previous_one_ended(
    jobs_engine: AsyncEngine, ended: Ended, clean: Clean
) -> None:
    for days in (12, 11, 10):
        await ended(timedelta(days=days))
    positions: dict[str, retention.Position] = {}
    await clean(positions=positions, batch=1)
    older, younger = await ended(timedelta(days=11)), await ended(timedelta(days=9))
    await clean(positions=positions, batch=1)
    assert await rows_of(jobs_engine, older.job_id) == THERE
    assert await rows_of(jobs_engine, younger.job_id) == GONE
    await clean(positions={}, batch=1)
    assert await rows_of(jobs_engine, older.job_id) == GONE


async def test_next_call_looks_again_at_jobs_that_had_to_stay(
    jobs: operations.Operations, jobs_engine: AsyncEngine, ended: Ended, clean: Clean, kind: str
) -> None:
    parent, _ = await jobs.submit(ids.uuid7(), domain.Spec(kind=f"{kind}.parent", owner_id=uuid4(), payload={}))
    stays = await ended(timedelta(days=11), parent_id=parent.job_id, owner_id=parent.spec.owner_id)
    for days in (10, 9):
        await ended(timedelta(days=days))
    positions: dict[str, retention.Position] = {}
    await clean(positions=positions, batch=1)
    assert await rows_of(jobs_engine, stays.job_id) == THERE
    await jobs.cancel(parent.job_id, owner_id=None, reason="requested")
    await clean(positions=positions, batch=1)
    assert await rows_of(jobs_engine, stays.job_id) == GONE


async def test_kind_keeps_its_jobs_for_its_retention(
    jobs: operations.Operations, jobs_engine: AsyncEngine, ended: Ended, clean: Clean, kind: str
) -> None:
    await jobs.register("w", [kinds.Registration(kind=kind, retention=timedelta(days=30))], [])
    job = await ended(timedelta(days=29))
    await clean()
    assert await rows_of(jobs_engine, job.job_id) == THERE
    await jobs.register("w", [kinds.Registration(kind=kind, retention=timedelta(days=1))], [])
    await clean()
    assert await rows_of(jobs_engine, job.job_id) == GONE


async def test_jobs_of_a_kind_without_a_row_are_deleted(
    jobs_engine: AsyncEngine, ended: Ended, clean: Clean, kind: str
) -> None:
    job = await ended(WEEK * 2)
    async with jobs_engine.begin() as conn:
        await conn.execute(sa.delete(schema.kinds).where(schema.kinds.c.kind == kind))
    await clean()
    assert await rows_of(jobs_engine, job.job_id) == GONE


async def test_unfinished_jobs_stay(
    jobs: operations.Operations, jobs_engine: AsyncEngine, submit_job: Callable[..., Any], clean: Clean
) -> None:
    job = await submit_job()
    async with jobs_engine.begin() as conn:
        statement = sa.update(schema.jobs).where(schema.jobs.c.job_id == job.job_id)
        await conn.execute(statement.values(created_at=sa.func.now() - timedelta(days=365)))
    await clean()
    assert (await jobs.get(job.job_id, owner_id=None)).state is domain.State.PENDING


async def test_parents_and_children_are_deleted_only_after_both_have_ended(
    jobs: operations.Operations, jobs_engine: AsyncEngine, submit_job: Callable[..., Any], clean: Clean, kind: str
) -> None:
    parent = await submit_job()
    await submit_job(parent_id=parent.job_id)
    await submit_job(parent_id=parent.job_id)
    claimed = {job.job_id: job for job in await jobs.claim(worker="w", kinds=[kind], limit=3)}
    *_, first, second = sorted(claimed.values(), key=lambda job: job.spec.parent_id is not None)
    await jobs.finish(first.job_id, 1, outcomes.Completed())
    await age_job(jobs_engine, first.job_id, WEEK * 2)
    await clean()
    # Its parent lives and may still want to read it.
    assert (await rows_of(jobs_engine, first.job_id))["jobs"] == 1
    await jobs.finish(parent.job_id, 1, outcomes.Completed())
    await age_job(jobs_engine, parent.job_id, WEEK * 2)
    await clean()
    # The second child lives.
    assert (await rows_of(jobs_engine, parent.job_id))["jobs"] == 1
    assert (await rows_of(jobs_engine, first.job_id))["jobs"] == 0
    await jobs.finish(second.job_id, 1, outcomes.Completed())
    await clean()
    assert (await rows_of(jobs_engine, parent.job_id))["jobs"] == 0
    assert (await rows_of(jobs_engine, second.job_id))["jobs"] == 1


async def test_retention_works_in_batches_and_continues_after_an_interruption(
    jobs_engine: AsyncEngine, ended: Ended, clean: Clean
) -> None:
    await clean()
    jobs_ended = [await ended(WEEK * 2) for _ in range(5)]
    # Ended in one transaction they have one time.
    async with jobs_engine.begin() as conn:
        statement = sa.update(schema.jobs).where(schema.jobs.c.job_id.in_([job.job_id for job in jobs_ended]))
        await conn.execute(statement.values(finished_at=datetime(2020, 1, 1, tzinfo=UTC)))
    cut_off, reported = await clean(batch=2, max_batches=2)
    assert (cut_off.jobs, cut_off.is_complete, reported) == (4, False, [2, 4])
    rest, _ = await clean(batch=2)
    assert (rest.jobs, rest.is_complete) == (1, True)
    assert [await rows_of(jobs_engine, job.job_id) for job in jobs_ended] == [GONE] * 5


async def test_flood_of_one_kind_does_not_keep_the_jobs_of_another(
    jobs: operations.Operations, jobs_engine: AsyncEngine, spec: Callable[..., domain.Spec], clean: Clean
) -> None:
    await clean()
    for kind, count in (("a.few", 1), ("m.flood", 4), ("z.few", 1)):
        for _ in range(count):
            job, _ = await jobs.submit(ids.uuid7(), dataclasses.replace(spec(), kind=kind))
            await jobs.cancel(job.job_id, owner_id=None, reason="requested")
            await age_job(jobs_engine, job.job_id, WEEK * 2)
    cut_off, _ = await clean(batch=1, max_batches=3)
    assert (cut_off.jobs, cut_off.is_complete) == (3, False)
    left = sa.select(schema.jobs.c.kind).where(schema.jobs.c.kind.in_(["a.few", "m.flood", "z.few"]))
    async with jobs_engine.connect() as conn:
        assert (await conn.execute(left)).scalars().all() == ["m.flood"] * 3
    await clean()


async def test_job_retried_concurrently_is_not_deleted(
    jobs: operations.Operations, jobs_engine: AsyncEngine, submit_job: Callable[..., Any], clean: Clean
) -> None:
    job = await submit_job()
    await jobs.cancel(job.job_id, owner_id=None, reason="requested")
    await age_job(jobs_engine, job.job_id, WEEK * 2)
    async with jobs_engine.begin() as conn:
        await conn.execute(sa.select(schema.jobs).where(schema.jobs.c.job_id == job.job_id).with_for_update())
        await clean()
    assert (await rows_of(jobs_engine, job.job_id))["jobs"] == 1


async def test_reader_of_deleted_events_gets_an_error(
    jobs: operations.Operations, jobs_engine: AsyncEngine, ended: Ended, clean: Clean, owner_id: UUID
) -> None:
    await ended(timedelta())
    await ended(WEEK * 2)
    await ended(timedelta())
    await clean()
    events, latest = await jobs.list_events(owner_id, after=0, limit=500)
    # 4, 5 and 6 are gone: later events are not returned as if they came next.
    assert [job_events_pb2.JobEvent.FromString(event).sequence for event in events] == [1, 2, 3]
    assert latest == 9
    for after in (3, 4, 5):
        with pytest.raises(errors.OutOfRange) as excinfo:
            await jobs.list_events(owner_id, after=after, limit=500)
        assert excinfo.value.code == "cursor_unknown"
    events, _ = await jobs.list_events(owner_id, after=6, limit=2)
    assert [job_events_pb2.JobEvent.FromString(event).sequence for event in events] == [7, 8]
    assert await jobs.list_events(owner_id, after=9, limit=500) == ([], 9)


async def test_workers_silent_for_a_day_are_deleted(
    jobs: operations.Operations, jobs_engine: AsyncEngine, clean: Clean, kind: str
) -> None:
    for name in ("seen", "gone"):
        await jobs.register(f"{kind}-{name}", [kinds.Registration(kind=kind)], [])
    async with jobs_engine.begin() as conn:
        statement = sa.update(schema.workers).where(schema.workers.c.worker == f"{kind}-gone")
        await conn.execute(statement.values(seen_at=sa.func.now() - timedelta(hours=25)))
    deleted, _ = await clean()
    assert deleted.workers >= 1
    async with jobs_engine.connect() as conn:
        left = set((await conn.execute(sa.select(schema.workers.c.worker))).scalars())
    assert {f"{kind}-seen"} == left & {f"{kind}-seen", f"{kind}-gone"}


async def test_kinds_without_registration_or_jobs_are_deleted(
    jobs: operations.Operations,
    jobs_engine: AsyncEngine,
    clean: Clean,
    submit_job: Callable[..., Any],
    kind: str,
) -> None:
    await jobs.kinds.get([kind])
    await submit_job()
    unused, limited, per_key, paused, registered, young = (f"{kind}.{uuid4().hex[:6]}" for _ in range(6))
    await jobs.kinds.get([unused, limited, per_key, paused, young])
    await jobs.register("w", [kinds.Registration(kind=registered)], [])
    row = sa.update(schema.kinds)
    async with jobs_engine.begin() as conn:
        await conn.execute(row.where(schema.kinds.c.kind == limited).values(max_running=3))
        await conn.execute(row.where(schema.kinds.c.kind == per_key).values(max_running_per_key=2))
        await conn.execute(row.where(schema.kinds.c.kind == paused).values(paused_at=sa.func.now()))
        old = schema.kinds.c.kind.startswith(kind) & (schema.kinds.c.kind != young)
        await conn.execute(row.where(old).values(tokens_at=sa.func.now() - timedelta(days=2)))
    await clean()
    async with jobs_engine.connect() as conn:
        left = (
            await conn.execute(sa.select(schema.kinds.c.kind).where(schema.kinds.c.kind.startswith(kind)))
        ).scalars()
        assert set(left) == {kind, limited, per_key, paused, registered, young}
        assert (await conn.execute(sa.select(schema.kinds).where(schema.kinds.c.kind == "*"))).first() is not None


async def test_statements_scan_no_table(jobs_engine: AsyncEngine, kind: str) -> None:
    parameters = {
        "kind": kind,
        "until": datetime.now(UTC),
        "after_time": datetime(1970, 1, 1, tzinfo=UTC),
        "after_id": uuid4(),
        "limit": 1_000,
        "job_ids": [uuid4() for _ in range(1_000)],
        "unknown": WEEK,
        "age": WEEK,
        "known": WEEK,
        "oldest": uuid4(),
    }
    statements = (
        retention.KINDS,
        retention.OLD,
        retention.DELETE_JOBS,
        retention.DELETE_EVENTS,
        retention.DELETE_NOTES,
        retention.DELETE_KINDS,
    )
    async with jobs_engine.connect() as conn:
        # PostgreSQL reads a small table sequentially despite its indexes.
        await conn.execute(sa.text("SET LOCAL enable_seqscan = off"))
        for statement in statements:
            used = {name: parameters[name] for name in statement.compile().params}
            explained = sa.text(f"EXPLAIN {statement.text}").bindparams(
                *(sa.bindparam(name, type_=sa.Interval) for name in used if name in {"age", "known", "unknown"})
            )
            plan = "\n".join((await conn.execute(explained, used)).scalars())
            for table in ("jobs", "job_events", "attempts", "checkpoints"):
                assert f"Seq Scan on {table} " not in plan, plan


async def test_deleted_job_is_not_run_again_by_a_repeated_submit(
    jobs: operations.Operations, jobs_engine: AsyncEngine, spec: Callable[..., domain.Spec], clean: Clean, kind: str
) -> None:
    """An outbox repeats a submit whose answer it has lost, however late."""
    await jobs.register("w", [kinds.Registration(kind=kind, retention=timedelta(minutes=1))], [])
    deleted = ids.uuid7()
    long_ago = ids.uuid7_of(datetime.now(UTC) - timedelta(days=8), kind)
    for job_id in (deleted, long_ago):
        await jobs.submit(job_id, spec())
    for job in await jobs.claim(worker="w", kinds=[kind], limit=2):
        await jobs.finish(job.job_id, 1, outcomes.Completed())
        await age_job(jobs_engine, job.job_id, timedelta(minutes=2))
    await clean()
    refused, claimed = await jobs_helpers.submit_to_waiting_call(jobs, spec(), [kind], 1, job_id=deleted)
    assert (isinstance(refused, errors.AlreadyExists), claimed) == (True, [])
    results = await jobs.submit_many([(deleted, spec()), (ids.uuid7(), spec()), (ids.uuid7(), spec())])
    assert isinstance(results[0], errors.AlreadyExists)
    assert results[0].code == "job_deleted"
    assert [isinstance(result, tuple) and result[1] for result in results] == [False, True, True]
    with pytest.raises(errors.AlreadyExists):
        await jobs.submit(deleted, spec())
    # Nobody repeats a submit for a week; the notes are deleted then.
    assert (await jobs.submit(long_ago, spec()))[1]
    async with jobs_engine.begin() as conn:
        await conn.execute(sa.insert(schema.deleted_jobs).values(job_id=long_ago))
    await clean()
    async with jobs_engine.connect() as conn:
        noted = set((await conn.execute(sa.select(schema.deleted_jobs.c.job_id))).scalars())
    assert deleted in noted
    assert long_ago not in noted
