"""Erasure of an owner: jobs in every state, mentions in the jobs of others, and what stays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import bus, ids, outbox, postgres
from services.jobs import domain, erasure, operations, outcomes, reopen, schema, storage, transaction
from services.jobs.operators.holds import Holds
from tests.integration.jobs import jobs_helpers
from tests.integration.jobs.claim_calls import Eventually
from tests.integration.jobs.conftest import LEASE

EMAIL = "Mina.Okafor@Example.com"
TABLES = ("jobs", "attempts", "attempt_logs", "checkpoints", "job_events", "owners", "job_changes", "kind_changes")

Spec = Callable[..., domain.Spec]


async def mentioning(engine: AsyncEngine, owner_id: UUID) -> set[str]:
    """Return the tables with a row that names the owner."""
    tables = set()
    async with engine.connect() as conn:
        for table in TABLES:
            statement = f"SELECT count(*) FROM jobs.{table} t WHERE lower(t::text) LIKE ANY(:texts)"
            texts = [f"%{owner_id}%", f"%{EMAIL.lower()}%"]
            if await conn.scalar(sa.text(statement), {"texts": texts}):
                tables.add(table)
    return tables


async def erase(jobs: operations.Operations, owner_id: UUID) -> bool:
    """Erase an owner once, all jobs searched; return whether nothing is left."""
    is_complete, after = True, None
    while True:
        erased = await erasure.erase_owner(jobs, owner_id, [EMAIL], after=after)
        is_complete = is_complete and erased.is_complete
        if (after := erased.next_job_id) is None:
            return is_complete


async def send_all(engine: AsyncEngine) -> None:
    """Empty the outbox, as a relay does."""
    async with engine.begin() as conn:
        await conn.execute(sa.text("DELETE FROM jobs.outbox"))


@pytest.fixture(scope="module")
async def jobs_engine(create_database: Callable[[], Callable[[str], str]]) -> AsyncIterator[AsyncEngine]:
    """Yield an engine of a new database: an erasure searches all jobs."""
    engine = postgres.engine(create_database()("jobs"), name="test-erasure")
    yield engine
    await engine.dispose()


@pytest.fixture(scope="module")
def jobs(jobs_engine: AsyncEngine, nats_url: str) -> operations.Operations:
    """Return operations with an unconnected bus."""
    relay = outbox.Relay(jobs_engine, schema.outbox, {})
    return operations.Operations(jobs_engine, relay, bus.Bus(nats_url, name="test-erasure"), lease=LEASE)


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Search few jobs in one call."""
    monkeypatch.setattr(erasure, "SCAN_BATCH", 2)


async def test_job_that_is_submitted_during_an_erasure_keeps_the_sequence_of_its_owner(
    jobs: operations.Operations, jobs_engine: AsyncEngine, spec: Spec, owner_id: UUID, eventually: Eventually
) -> None:
    """Without the row of the owner its next event would begin the sequence again, and meet the number of an earlier one."""
    ended, _ = await jobs.submit(ids.uuid7(), spec(owner_id=owner_id))
    await jobs.cancel(ended.job_id, owner_id=None, reason="r")
    async with outbox.transaction(jobs_engine, schema.outbox) as outgoing:
        tx = transaction.Transaction(outgoing.conn)
        await tx.submit([(ids.uuid7(), spec(owner_id=owner_id))])
        erasing = asyncio.create_task(erasure.erase_owner(jobs, owner_id, []))
        await eventually(lambda: jobs_helpers.waits_for_lock(jobs_engine))
        await tx.write_events()  # commits
    assert not (await erasing).is_complete
    assert await jobs.last_sequences([owner_id]) == {owner_id: 3}
    await erase(jobs, owner_id)
    await send_all(jobs_engine)
    assert await erase(jobs, owner_id)
    assert await mentioning(jobs_engine, owner_id) == set()


@pytest.mark.usefixtures("small_pages")
async def test_owner_and_all_mentions_are_erased_and_others_stay(
    jobs: operations.Operations, jobs_engine: AsyncEngine, spec: Spec, owner_id: UUID, kind: str
) -> None:
    running, _ = await jobs.submit(ids.uuid7(), spec(owner_id=owner_id))
    [claimed_job] = await jobs.claim(worker="w", kinds=[kind], limit=1)
    assert claimed_job.job_id == running.job_id
    await jobs.submit(ids.uuid7(), spec(owner_id=owner_id))
    other_owner = uuid4()
    mention, _ = await jobs.submit(ids.uuid7(), spec(owner_id=other_owner, payload={"to": EMAIL}))
    other, _ = await jobs.submit(ids.uuid7(), spec(owner_id=other_owner))

    assert not await erase(jobs, owner_id)
    assert (await jobs.get(running.job_id, owner_id=None)).state is domain.State.CANCELLING
    await jobs.finish(running.job_id, 1, outcomes.Cancelled(reason=erasure.REASON))
    assert not await erase(jobs, owner_id)
    await jobs.cancel(mention.job_id, owner_id=None, reason="requested")
    await send_all(jobs_engine)
    assert await erase(jobs, owner_id)
    assert await mentioning(jobs_engine, owner_id) == set()
    assert (await jobs.get(other.job_id, owner_id=None)).state is domain.State.PENDING
    assert await erase(jobs, owner_id)


async def test_jobs_that_mention_a_longer_address_stay(
    jobs: operations.Operations, jobs_engine: AsyncEngine, spec: Spec, owner_id: UUID
) -> None:
    mentions = (f"<{EMAIL}>", f"To {EMAIL}.", EMAIL)
    others = (f"not-{EMAIL}", f"{EMAIL}munity", f"{EMAIL}.au", f"{EMAIL}-pany.de", f"a+{EMAIL}")
    submitted = {}
    for address in (*mentions, *others):
        job, _ = await jobs.submit(ids.uuid7(), spec(owner_id=uuid4(), payload={"to": address}))
        await jobs.cancel(job.job_id, owner_id=None, reason="requested")
        submitted[address] = job.job_id
    await send_all(jobs_engine)
    assert await erase(jobs, owner_id)
    async with jobs_engine.connect() as conn:
        left = set((await conn.execute(sa.select(schema.jobs.c.job_id))).scalars())
    assert {address for address, job_id in submitted.items() if job_id in left} == set(others)


async def test_mentioning_job_that_is_retried_during_an_erasure_stays_until_it_has_ended(
    jobs: operations.Operations, jobs_engine: AsyncEngine, spec: Spec, owner_id: UUID, eventually: Eventually
) -> None:
    mention, _ = await jobs.submit(ids.uuid7(), spec(owner_id=uuid4(), payload={"to": EMAIL}))
    await jobs.cancel(mention.job_id, owner_id=None, reason="r")

    async def has_met_the_job() -> bool:
        return erasing.done() or await jobs_helpers.waits_for_lock(jobs_engine)

    async with jobs.transaction() as tx:
        locked = await storage.lock_job(tx.conn, mention.job_id)
        assert locked is not None
        await reopen.reopen(tx, locked)
        erasing = asyncio.create_task(erasure.erase_owner(jobs, owner_id, [EMAIL]))
        await eventually(has_met_the_job)
    assert not (await erasing).is_complete
    await jobs.cancel(mention.job_id, owner_id=None, reason="r")
    await send_all(jobs_engine)
    assert await erase(jobs, owner_id)
    assert await jobs.get_many([mention.job_id]) == {}


async def test_repeated_submit_of_an_erased_job_is_refused(
    jobs: operations.Operations, jobs_engine: AsyncEngine, spec: Spec, owner_id: UUID
) -> None:
    """An outbox that got no answer would run the job again."""
    submits = [(ids.uuid7(), spec(owner_id=owner)) for owner in (owner_id, uuid4())]
    submits[1][1].payload["to"] = EMAIL
    for job_id, submitted in submits:
        await jobs.submit(job_id, submitted)
        await jobs.cancel(job_id, owner_id=None, reason="r")
    await send_all(jobs_engine)
    assert await erase(jobs, owner_id)
    for result in await jobs.submit_many(submits):
        assert getattr(result, "code", None) == "job_deleted"


async def test_unsent_message_of_the_owner_is_reported(
    jobs: operations.Operations, jobs_engine: AsyncEngine, owner_id: UUID
) -> None:
    assert await erase(jobs, owner_id)
    statement = "INSERT INTO jobs.outbox (message_id, subject, payload) VALUES (:id, 'jobs.events.x', :payload)"
    async with jobs_engine.begin() as conn:
        payload: Any = b"\x0a\x24" + str(owner_id).encode() + b"\xff"
        await conn.execute(sa.text(statement), {"id": uuid4(), "payload": payload})
    assert not await erase(jobs, owner_id)
    await send_all(jobs_engine)
    assert await erase(jobs, owner_id)


async def test_changes_by_the_owner_are_forgotten_in_parts(
    jobs: operations.Operations, jobs_engine: AsyncEngine, spec: Spec, owner_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change of many jobs by an admin names the admin once for each job."""
    monkeypatch.setattr(erasure, "DELETE_BATCH", 2)
    for _ in range(3):
        job, _ = await jobs.submit(ids.uuid7(), spec(owner_id=uuid4()))
        await Holds(jobs).hold(job.job_id, actor_id=owner_id)
    await send_all(jobs_engine)
    first = await erasure.erase_owner(jobs, owner_id, [])
    assert (first.deleted, first.is_complete) == (2, False)
    second = await erasure.erase_owner(jobs, owner_id, [])
    assert (second.deleted, second.is_complete) == (1, True)


async def test_deleted_events_are_progress(
    jobs: operations.Operations,
    jobs_engine: AsyncEngine,
    spec: Spec,
    owner_id: UUID,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The caller waits after a call that deleted nothing: it must not wait between batches of events."""
    monkeypatch.setattr(erasure, "DELETE_BATCH", 2)
    job, _ = await jobs.submit(ids.uuid7(), spec(owner_id=owner_id))
    await jobs.cancel(job.job_id, owner_id=None, reason="requested")
    async with jobs_engine.begin() as conn:
        # Events outlive the jobs that retention deletes.
        await conn.execute(sa.text("DELETE FROM jobs.jobs WHERE owner_id = :owner_id"), {"owner_id": owner_id})
    await send_all(jobs_engine)
    first = await erasure.erase_owner(jobs, owner_id, [])
    assert (first.deleted, first.is_complete) == (2, False)
    assert "job_events" not in await mentioning(jobs_engine, owner_id)
    assert await erase(jobs, owner_id)


@pytest.fixture
async def slow(jobs_engine: AsyncEngine, nats_url: str) -> AsyncIterator[operations.Operations]:
    """Yield operations whose statements end after a second, with 50 ms for each log line that is read and each job deleted."""
    slowed = """
        CREATE POLICY slow ON jobs.attempt_logs USING (pg_sleep(0.05) IS NOT NULL);
        ALTER TABLE jobs.attempt_logs ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
        CREATE FUNCTION jobs.wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.05); RETURN OLD; END $$;
        CREATE TRIGGER wait BEFORE DELETE ON jobs.jobs FOR EACH ROW EXECUTE FUNCTION jobs.wait()
    """
    restored = """
        DROP POLICY slow ON jobs.attempt_logs;
        ALTER TABLE jobs.attempt_logs DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY;
        DROP TRIGGER wait ON jobs.jobs;
        DROP FUNCTION jobs.wait()
    """
    await execute_all(jobs_engine, slowed)
    engine = postgres.engine(jobs_engine.url.render_as_string(hide_password=False), name="test-impatient")

    def limit(conn: sa.Connection) -> None:
        conn.exec_driver_sql("SET LOCAL statement_timeout = 1000")
        # As with many rows. A scan of the few of a test would wait for the lines of all jobs.
        conn.exec_driver_sql("SET LOCAL enable_seqscan = off")

    sa.event.listen(engine.sync_engine, "begin", limit)
    relay = outbox.Relay(engine, schema.outbox, {})
    yield operations.Operations(engine, relay, bus.Bus(nats_url, name="test-impatient"), lease=LEASE)
    await engine.dispose()
    await execute_all(jobs_engine, restored)


async def execute_all(engine: AsyncEngine, statements: str) -> None:
    async with engine.begin() as conn:
        for statement in statements.split(";\n"):
            await conn.execute(sa.text(statement))


async def test_jobs_that_take_long_to_search_and_delete_are_erased_in_smaller_parts(
    slow: operations.Operations,
    jobs: operations.Operations,
    jobs_engine: AsyncEngine,
    spec: Spec,
    owner_id: UUID,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Log lines are searched and deleted with their job: many jobs with many lines would exceed the time of a statement."""
    monkeypatch.setattr(erasure, "FIRST_DELETED", 30)
    monkeypatch.setattr(erasure, "FIRST_SCANNED", 30)
    monkeypatch.setattr(erasure, "CALL_SECONDS", 60.0)
    submits = [(ids.uuid7(), spec(owner_id=owner)) for owner in (owner_id, uuid4()) for _ in range(30)]
    await jobs.submit_many(submits)
    parameters: dict[str, Any] = {"job_ids": [job_id for job_id, _ in submits], "text": f"to {EMAIL}"}
    ended = "state = 'cancelled', ready = false, cancel_reason = 'r', finished_at = now()"
    async with jobs_engine.begin() as conn:
        await conn.execute(sa.text(f"UPDATE jobs.jobs SET {ended} WHERE job_id = ANY(:job_ids)"), parameters)
        lines = "INSERT INTO jobs.attempt_logs (job_id, attempt, number, logged_at, level, logger, text)"
        values = "SELECT unnest(CAST(:job_ids AS uuid[])), 1, 1, now(), 'info', 'smtp', :text"
        await conn.execute(sa.text(f"{lines} {values}"), parameters)
    await send_all(jobs_engine)
    erased = await erasure.erase_owner(slow, owner_id, [EMAIL])
    assert (erased.is_complete, erased.next_job_id) == (True, None)
    assert await jobs.get_many(parameters["job_ids"]) == {}
