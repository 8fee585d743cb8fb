"""A transaction that holds locks delays the jobs whose rows it has locked, and no others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import bus, errors, ids, outbox, postgres
from services.jobs import domain, isolation, maintenance, operations, outcomes, schema, storage
from services.jobs.claims import refused_jobs
from services.jobs.domain import State
from services.jobs.maintenance import Maintenance
from services.jobs.operations import Operations
from tests.integration.jobs import jobs_helpers
from tests.integration.jobs.claim_calls import Eventually
from tests.integration.jobs.conftest import LEASE

Locks = Callable[..., AbstractAsyncContextManager[None]]
LOCK_JOB = "SELECT 1 FROM jobs.jobs WHERE job_id = :id FOR NO KEY UPDATE"
LOCK_OWNER = "SELECT 1 FROM jobs.owners WHERE owner_id = :id FOR NO KEY UPDATE"


@pytest.fixture
async def jobs(quiet_url: str, nats_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Operations]:
    """Yield a replica that waits for locks as briefly as the service does."""
    # A busy machine ends no part of a batch within this time. What waits for a lock fails by the bound of its wait.
    monkeypatch.setattr(isolation, "STILL_SECONDS", 30.0)
    engine = postgres.engine(quiet_url, name="test-hurried", pool_size=40, lock_seconds=operations.LOCK_SECONDS)
    relay = outbox.Relay(engine, schema.outbox, {})
    yield Operations(engine, relay, bus.Bus(nats_url, name="hurried"), lease=LEASE)
    await engine.dispose()


@pytest.fixture
def unhurried(jobs_engine: AsyncEngine, nats_url: str) -> Operations:
    """Return a replica whose statements wait for locks longer than any test: what ends has waited for none."""
    relay = outbox.Relay(jobs_engine, schema.outbox, {})
    return Operations(jobs_engine, relay, bus.Bus(nats_url, name="unhurried"), lease=LEASE)


@pytest.fixture
def locked(jobs_engine: AsyncEngine) -> Locks:
    """Return a context manager that locks a row as a frozen replica does."""

    @asynccontextmanager
    async def lock(statement: str, row_id: UUID) -> AsyncIterator[None]:
        async with jobs_engine.connect() as conn:
            assert (await conn.execute(sa.text(statement), {"id": row_id})).all()
            yield
            await conn.rollback()

    return lock


async def test_heartbeat_waits_for_no_row_and_renews_all_others(
    jobs: Operations, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str, locked: Locks
) -> None:
    held = [await submit_job() for _ in range(3)]
    await jobs.claim(worker="w1", kinds=[kind], limit=10)
    for job in held:
        await jobs_helpers.expire(jobs_engine, job.job_id)
    keys = [(job.job_id, 1) for job in held]
    async with locked(LOCK_JOB, held[0].job_id):
        renewed = await jobs.heartbeat(worker="w1", held=keys)
    assert sorted(renewed) == sorted((*key, State.RUNNING) for key in keys)
    await jobs_helpers.rescue(jobs)
    states = [await jobs_helpers.state(jobs, job.job_id) for job in held]
    assert states == [State.RETRYING, State.RUNNING, State.RUNNING]


async def test_cancelled_heartbeat_keeps_its_connection_and_the_repeated_one_shares_it(
    jobs: Operations, submit_job: jobs_helpers.Submit, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await submit_job()
    await jobs_helpers.claim_one(jobs, kind)
    answer, renewals = asyncio.Event(), 0
    renew = storage.renew_leases

    async def slow(*args: Any, **arguments: Any) -> Any:
        nonlocal renewals
        renewals += 1
        await answer.wait()
        return await renew(*args, **arguments)

    monkeypatch.setattr(storage, "renew_leases", slow)
    calls = [asyncio.create_task(jobs.heartbeat(worker="w1", held=[(job.job_id, 1)])) for _ in range(3)]
    await asyncio.sleep(0)
    calls[0].cancel()
    await asyncio.wait([calls[0]])
    answer.set()
    renewed = [(job.job_id, 1, State.RUNNING)]
    assert [await call for call in calls[1:]] == [renewed, renewed]
    assert renewals == 1
    assert await jobs.heartbeat(worker="w1", held=[(job.job_id, 1)]) == renewed
    assert renewals == 2


async def test_claim_waits_for_no_locked_job(
    unhurried: Operations, jobs: Operations, submit_job: jobs_helpers.Submit, kind: str, locked: Locks
) -> None:
    first, second = await submit_job(), await submit_job()
    async with locked(LOCK_JOB, first.job_id):
        async with asyncio.timeout(60):
            claimed = await unhurried.claim(worker="w1", kinds=[kind], limit=10)
    assert [job.job_id for job in claimed] == [second.job_id]


async def test_claim_locks_owners_in_one_order(
    unhurried: Operations,
    jobs: Operations,
    jobs_engine: AsyncEngine,
    spec: jobs_helpers.MakeSpec,
    kind: str,
    locked: Locks,
    eventually: Eventually,
) -> None:
    low, high = sorted((uuid4(), uuid4()))
    for owner_id in (high, low):
        await jobs.submit(ids.uuid7(), spec(owner_id=owner_id))
    async with locked(LOCK_OWNER, low):
        claiming = asyncio.create_task(unhurried.claim(worker="w1", kinds=[kind], limit=10))
        await eventually(lambda: jobs_helpers.waits_for_lock(jobs_engine))
        # The claim does not have the second one yet.
        async with locked(f"{LOCK_OWNER} NOWAIT", high):
            pass
    assert len(await claiming) == 2


async def test_finishes_of_others_do_not_wait_for_a_locked_owner(
    jobs: Operations, spec: jobs_helpers.MakeSpec, kind: str, locked: Locks
) -> None:
    blocked, others = uuid4(), [uuid4() for _ in range(5)]
    await jobs.submit_many([(ids.uuid7(), spec(owner_id=owner)) for owner in (blocked, *others)])
    claimed = {job.spec.owner_id: job for job in await jobs.claim(worker="w1", kinds=[kind], limit=10)}

    def finish(owner: UUID) -> Awaitable[domain.Job]:
        return jobs.finish(claimed[owner].job_id, 1, outcomes.Completed())

    async with locked(LOCK_OWNER, blocked):
        failure, *ended = await asyncio.gather(*map(finish, (blocked, *others)), return_exceptions=True)
        late = await finish(others[0])
    assert isinstance(failure, errors.Unavailable)
    assert [cast(domain.Job, job).state for job in (*ended, late)] == [State.COMPLETED] * 6
    assert (await finish(blocked)).state is State.COMPLETED


async def test_submits_of_others_do_not_wait_for_a_contended_unique_key(
    jobs: Operations,
    unhurried: Operations,
    jobs_engine: AsyncEngine,
    spec: jobs_helpers.MakeSpec,
    eventually: Eventually,
) -> None:
    key = uuid4().hex
    async with jobs.transaction() as tx:
        await tx.submit([(ids.uuid7(), spec(unique_key=key))])
        contended = asyncio.create_task(unhurried.submit(ids.uuid7(), spec(owner_id=uuid4(), unique_key=key)))
        await eventually(lambda: jobs_helpers.waits_for_lock(jobs_engine))
        _, is_new = await unhurried.submit(ids.uuid7(), spec(owner_id=uuid4()))
        assert is_new
        assert not contended.done()
    with pytest.raises(errors.AlreadyExists):
        await contended


async def test_submit_that_waits_for_a_unique_key_is_refused_in_time(
    jobs: Operations, spec: jobs_helpers.MakeSpec
) -> None:
    assert timedelta(seconds=operations.LOCK_SECONDS) < timedelta(seconds=3) / 3
    key = uuid4().hex
    async with jobs.transaction() as tx:
        await tx.submit([(ids.uuid7(), spec(unique_key=key))])
        with pytest.raises(errors.Unavailable):
            await jobs.submit(ids.uuid7(), spec(owner_id=uuid4(), unique_key=key))


async def test_contended_item_of_a_batch_fails_alone(jobs: Operations, spec: jobs_helpers.MakeSpec) -> None:
    key = uuid4().hex
    async with jobs.transaction() as tx:
        await tx.submit([(ids.uuid7(), spec(unique_key=key))])
        batch = [spec(owner_id=uuid4()), spec(owner_id=uuid4(), unique_key=key), spec(owner_id=uuid4())]
        results = await jobs.submit_many([(ids.uuid7(), item) for item in batch])
    assert isinstance(results[1], errors.Unavailable)
    assert [isinstance(result, tuple) and result[1] for result in results] == [True, False, True]


async def test_rescue_does_not_wait_for_a_locked_owner(
    jobs: Operations, jobs_engine: AsyncEngine, spec: jobs_helpers.MakeSpec, kind: str, locked: Locks
) -> None:
    blocked, other = uuid4(), uuid4()
    await jobs.submit_many([(ids.uuid7(), spec(owner_id=owner)) for owner in (blocked, other)])
    held = {job.spec.owner_id: job.job_id for job in await jobs.claim(worker="w1", kinds=[kind], limit=10)}
    for job_id in held.values():
        await jobs_helpers.expire(jobs_engine, job_id)
    async with locked(LOCK_OWNER, blocked):
        await jobs_helpers.rescue(jobs)
        states = [await jobs_helpers.state(jobs, held[owner]) for owner in (blocked, other)]
        assert states == [State.RUNNING, State.RETRYING]
    await jobs_helpers.rescue(jobs)
    assert await jobs_helpers.state(jobs, held[blocked]) is State.RETRYING


@pytest.mark.parametrize(
    ("change", "task", "state"),
    [
        ("run_at = now()", Maintenance.promote_due, State.PENDING),
        ("deadline = now()", Maintenance.fail_overdue, State.FAILED),
    ],
)
async def test_due_jobs_do_not_wait_for_a_locked_owner(
    jobs: Operations,
    jobs_engine: AsyncEngine,
    submit_job: jobs_helpers.Submit,
    locked: Locks,
    change: str,
    task: Callable[[Maintenance], Awaitable[int]],
    state: State,
) -> None:
    later = datetime.now(UTC) + jobs_helpers.HOUR
    blocked, other = uuid4(), uuid4()
    waiting = {
        owner: (await submit_job(owner_id=owner, run_at=later, total_timeout=jobs_helpers.HOUR)).job_id
        for owner in (blocked, other)
    }
    for job_id in waiting.values():
        await jobs_helpers.shift(jobs_engine, job_id, change)
    async with locked(LOCK_OWNER, blocked):
        await task(Maintenance(jobs))
        states = [await jobs_helpers.state(jobs, waiting[owner]) for owner in (blocked, other)]
        assert states == [State.SCHEDULED, state]
    await task(Maintenance(jobs))
    assert await jobs_helpers.state(jobs, waiting[blocked]) is state


async def retrying_and_scheduled(
    jobs: Operations, engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str, count: int
) -> tuple[list[UUID], UUID]:
    """Return jobs whose backoff is over, each of an owner of its own, and a scheduled job that is due, of another one."""
    retrying = [(await submit_job(owner_id=uuid4())).job_id for _ in range(count)]
    await jobs.claim(worker="w1", kinds=[kind], limit=count)
    await jobs.finish_many([(job_id, 1, jobs_helpers.ERROR) for job_id in retrying])
    scheduled = (await submit_job(owner_id=uuid4(), run_at=datetime.now(UTC) + jobs_helpers.HOUR)).job_id
    for job_id in (*retrying, scheduled):
        await jobs_helpers.shift(engine, job_id, "run_at = now()")
    return retrying, scheduled


async def test_retries_do_not_wait_for_the_locked_owner_of_a_scheduled_job(
    jobs: Operations, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str, locked: Locks
) -> None:
    (retrying,), scheduled = await retrying_and_scheduled(jobs, jobs_engine, submit_job, kind, 1)
    async with locked(LOCK_OWNER, (await jobs.get(scheduled, owner_id=None)).spec.owner_id):
        await Maintenance(jobs).promote_due()
        assert await jobs_helpers.claim(jobs, kind) == [retrying]
        assert await jobs_helpers.state(jobs, scheduled) is State.SCHEDULED


@pytest.mark.parametrize("refused", [State.RETRYING, State.PENDING])
async def test_job_that_the_database_refuses_to_change_stops_no_due_jobs_of_others(
    jobs: Operations,
    jobs_engine: AsyncEngine,
    submit_job: jobs_helpers.Submit,
    kind: str,
    poisoned: jobs_helpers.Poison,
    monkeypatch: pytest.MonkeyPatch,
    refused: State,
) -> None:
    monkeypatch.setattr(maintenance, "REFUSED_PAUSE_SECONDS", 0.0)
    retrying, scheduled = await retrying_and_scheduled(jobs, jobs_engine, submit_job, kind, 2)
    poison = retrying[0] if refused is State.RETRYING else scheduled
    others = {*retrying, scheduled} - {poison}
    async with poisoned(refused, poison):
        await Maintenance(jobs).promote_due()
        assert {*await jobs_helpers.claim(jobs, kind)} == others
    await Maintenance(jobs).promote_due()
    assert await jobs_helpers.claim(jobs, kind) == [poison]


@pytest.mark.parametrize("task", ["orphans", "overrun"])
async def test_tidying_does_not_wait_for_a_locked_owner(
    jobs: Operations, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str, locked: Locks, task: str
) -> None:
    blocked, other = uuid4(), uuid4()
    tidied: dict[UUID, UUID] = {}
    for owner in (blocked, other):
        job = await submit_job(owner_id=owner)
        tidied[owner] = job.job_id
        if task == "orphans":
            tidied[owner] = (await submit_job(owner_id=owner, parent_id=job.job_id, kind=f"{kind}.child")).job_id
    claimed = await jobs.claim(worker="w1", kinds=[kind], limit=2)
    if task == "orphans":
        await jobs.finish_many([(job.job_id, 1, jobs_helpers.FINAL) for job in claimed])
        run, ended = Maintenance(jobs).cancel_orphans, State.CANCELLED
    else:
        async with jobs_engine.begin() as conn:
            aged = sa.text("UPDATE jobs.attempts SET started_at = now() - interval '1 day' WHERE job_id = ANY(:ids)")
            await conn.execute(aged, {"ids": list(tidied.values())})
        run, ended = Maintenance(jobs).end_overrun_attempts, State.RETRYING
    async with locked(LOCK_OWNER, blocked):
        await run()
        states = [await jobs_helpers.state(jobs, tidied[owner]) for owner in (blocked, other)]
        assert states == [State.PENDING if task == "orphans" else State.RUNNING, ended]
    await run()
    assert await jobs_helpers.state(jobs, tidied[blocked]) is ended


async def test_job_that_the_database_refuses_to_change_stops_no_claim_or_submit_of_its_kind(
    jobs: Operations,
    submit_job: jobs_helpers.Submit,
    spec: jobs_helpers.MakeSpec,
    kind: str,
    poisoned: jobs_helpers.Poison,
) -> None:
    poison, *others = [await submit_job(owner_id=uuid4()) for _ in range(3)]
    async with poisoned(State.RUNNING, poison.job_id):
        assert {*await jobs_helpers.claim(jobs, kind)} == {job.job_id for job in others}
        # A submit claims for a waiting call in its own transaction, and meets the job too.
        result, handed = await jobs_helpers.submit_to_waiting_call(jobs, spec(owner_id=uuid4()), [kind], 10)
        assert isinstance(result, tuple)
        assert [job.job_id for job in handed] == [result[0].job_id]
    assert await jobs_helpers.state(jobs, poison.job_id) is State.PENDING


async def test_claim_that_meets_refused_jobs_takes_the_next_ones_in_order_and_no_more_than_asked_for(
    jobs: Operations,
    submit_job: jobs_helpers.Submit,
    kind: str,
    poisoned: jobs_helpers.Poison,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(refused_jobs, "EXCLUDED_SECONDS", 0.0)
    first, second, *others = [await submit_job() for _ in range(5)]
    async with poisoned(State.RUNNING, first.job_id, second.job_id):
        assert [await jobs_helpers.claim(jobs, kind, 1) for _ in others] == [[job.job_id] for job in others]
    assert await jobs_helpers.claim(jobs, kind) == [first.job_id, second.job_id], "their rows were repaired"


async def test_job_that_the_database_refuses_to_change_stops_no_rescue_of_others(
    jobs: Operations,
    jobs_engine: AsyncEngine,
    spec: jobs_helpers.MakeSpec,
    kind: str,
    poisoned: jobs_helpers.Poison,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(maintenance, "REFUSED_PAUSE_SECONDS", 0.0)
    poison, other = ids.uuid7(), ids.uuid7()
    await jobs.submit_many([(job_id, spec(owner_id=uuid4())) for job_id in (poison, other)])
    await jobs.claim(worker="w1", kinds=[kind], limit=10)
    for job_id in (poison, other):
        await jobs_helpers.expire(jobs_engine, job_id)
    async with poisoned(State.RETRYING, poison):
        await jobs_helpers.rescue(jobs)
        states = [await jobs_helpers.state(jobs, job_id) for job_id in (poison, other)]
        assert states == [State.RUNNING, State.RETRYING]
    await jobs_helpers.rescue(jobs)
    assert await jobs_helpers.state(jobs, poison) is State.RETRYING


@pytest.mark.parametrize("refused", [State.RETRYING, State.PENDING, State.FAILED])
async def test_job_that_the_database_refuses_to_change_stops_no_other_job_of_its_owner(
    jobs: Operations,
    jobs_engine: AsyncEngine,
    submit_job: jobs_helpers.Submit,
    kind: str,
    poisoned: jobs_helpers.Poison,
    monkeypatch: pytest.MonkeyPatch,
    refused: State,
) -> None:
    """The system owns the jobs of all schedules."""
    monkeypatch.setattr(maintenance, "REFUSED_PAUSE_SECONDS", 0.0)
    later = None if refused is State.RETRYING else datetime.now(UTC) + jobs_helpers.HOUR
    submitted = [
        await submit_job(owner_id=domain.SYSTEM, run_at=later, total_timeout=jobs_helpers.HOUR) for _ in range(3)
    ]
    poison, *others = [job.job_id for job in submitted]
    run: Callable[[], Awaitable[object]]
    if refused is State.RETRYING:
        await jobs.claim(worker="w1", kinds=[kind], limit=10)
        change, run = "lease_until = now() - interval '1 second'", partial(jobs_helpers.rescue, jobs)
    elif refused is State.PENDING:
        change, run = "run_at = now()", Maintenance(jobs).promote_due
    else:
        change, run = "deadline = now()", Maintenance(jobs).fail_overdue
    for job_id in (poison, *others):
        await jobs_helpers.shift(jobs_engine, job_id, change)
    async with poisoned(refused, poison):
        await run()
        assert [await jobs_helpers.state(jobs, job_id) for job_id in others] == [refused] * 2
    await run()
    assert await jobs_helpers.state(jobs, poison) is refused


async def test_pass_tries_few_jobs_of_an_owner_whose_changes_are_refused_and_reaches_all_others(
    jobs: Operations,
    jobs_engine: AsyncEngine,
    submit_job: jobs_helpers.Submit,
    poisoned: jobs_helpers.Poison,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(maintenance, "REFUSED_PAUSE_SECONDS", 0.0)
    later = datetime.now(UTC) + jobs_helpers.HOUR
    *poison, other = [(await submit_job(run_at=later)).job_id for _ in range(maintenance.MAX_REFUSED * 2 + 1)]
    for job_id in (*poison, other):
        await jobs_helpers.shift(jobs_engine, job_id, "run_at = now()")
    async with poisoned(State.PENDING, *poison):
        for _ in range(100):
            caplog.clear()
            await Maintenance(jobs).promote_due()
            refused = [record for record in caplog.records if record.message == "a job cannot be moved"]
            assert len(refused) == maintenance.MAX_REFUSED
            if await jobs_helpers.state(jobs, other) is State.PENDING:
                break
    assert await jobs_helpers.state(jobs, other) is State.PENDING
    await Maintenance(jobs).promote_due()


async def test_outcome_that_the_database_refuses_fails_alone(
    jobs: Operations,
    jobs_engine: AsyncEngine,
    submit_job: jobs_helpers.Submit,
    kind: str,
    poisoned: jobs_helpers.Poison,
) -> None:
    poison, *others = [await submit_job() for _ in range(4)]
    await jobs.claim(worker="w1", kinds=[kind], limit=10)
    # No valid outcome breaks a rule of the database. A row from another release may.
    await jobs_helpers.shift(jobs_engine, poison.job_id, "progress_done = 5, progress_total = 9")
    finishes: list[Any] = [(job.job_id, 1, outcomes.Completed()) for job in (poison, *others)]
    async with poisoned(State.COMPLETED, poison.job_id):
        failure, *results = await jobs.finish_many(finishes)
    assert isinstance(failure, errors.Internal)
    assert [isinstance(result, domain.Job) and result.state for result in results] == [State.COMPLETED] * 3
    assert (await jobs.finish(poison.job_id, 1, outcomes.Completed())).state is State.COMPLETED


async def test_transaction_of_a_frozen_replica_loses_its_locks_within_a_lease(quiet_url: str, locked: Locks) -> None:
    assert timedelta(seconds=operations.IDLE_SECONDS) < timedelta(seconds=3)
    frozen = postgres.engine(quiet_url, name="frozen", lock_seconds=0.1, idle_seconds=0.2)
    async with frozen.connect() as conn:
        await conn.execute(sa.text("SELECT pg_advisory_xact_lock(4711)"))
        async with postgres.engine(quiet_url, name="other", lock_seconds=60.0).begin() as other:
            await other.execute(sa.text("SELECT pg_advisory_xact_lock(4711)"))
        with pytest.raises(sa.exc.DBAPIError):
            await conn.execute(sa.text("SELECT 1"))
        await conn.invalidate()
    await frozen.dispose()
