"""A submit hands jobs to waiting calls in its own transaction, as if they had claimed right after it or not at all."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import ids
from services.jobs import domain, transaction
from services.jobs.claims import claim
from services.jobs.domain import State
from services.jobs.maintenance import Maintenance
from services.jobs.operations import Operations
from services.jobs.operators import kind_controls
from tests.integration.jobs import jobs_helpers
from tests.integration.jobs.claim_calls import Callers, Eventually, claimed_ids


async def test_submit_and_claim_share_one_transaction(
    callers: Callers, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    call = await callers.resting(kind)
    job = await submit_job()
    assert (job.state, job.attempt) == (State.PENDING, 0)
    assert await claimed_ids(call) == [job.job_id]
    async with jobs_engine.connect() as conn:
        query = sa.text("SELECT sequence, reason, xmin::text FROM jobs.job_events WHERE job_id = :id ORDER BY sequence")
        rows = (await conn.execute(query, {"id": job.job_id})).all()
    assert [row[:2] for row in rows] == [(1, "submitted"), (2, "claimed")]
    assert len({row[2] for row in rows}) == 1


async def test_uncommitted_job_is_not_delivered(
    callers: Callers, submit_job: jobs_helpers.Submit, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = await callers.resting(kind)
    with monkeypatch.context() as patched:
        tries: list[list[str]] = []

        write_events = transaction.Transaction.write_events

        async def fail(self: transaction.Transaction) -> None:
            if not self.transitions:  # the call looks again
                await write_events(self)
                return
            tries.append([reason for _, reason in self.transitions])
            raise RuntimeError("nothing of it is left")

        patched.setattr(transaction.Transaction, "write_events", fail)
        with pytest.raises(RuntimeError):
            await submit_job()
        assert tries == [["submitted", "claimed"], ["submitted"]]
    assert callers.jobs.waiters.count == 1
    job = await submit_job()
    assert await claimed_ids(call) == [job.job_id]


async def test_waiting_call_gets_the_best_job_and_the_next_call_the_submitted_one(
    callers: Callers, replica: Operations, spec: jobs_helpers.MakeSpec, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    first, second = await callers.resting(kind), await callers.resting(kind)
    # No wake-up is sent for it.
    urgent, _ = await replica.submit(ids.uuid7(), spec(priority=5))
    job = await submit_job()
    assert (await claimed_ids(first), await claimed_ids(second)) == ([urgent.job_id], [job.job_id])


async def test_owners_take_turns(callers: Callers, replica: Operations, spec: jobs_helpers.MakeSpec, kind: str) -> None:
    call = await callers.resting(kind, limit=2)
    single, _ = await replica.submit(ids.uuid7(), spec(owner_id=uuid4()))
    many = [(ids.uuid7(), spec()) for _ in range(3)]
    await callers.jobs.submit_many(many)
    assert await claimed_ids(call) == [single.job_id, many[0][0]]
    assert await jobs_helpers.claim(callers.jobs, kind) == [job_id for job_id, _ in many[1:]]


async def test_one_job_of_a_concurrency_key_runs(callers: Callers, spec: jobs_helpers.MakeSpec, kind: str) -> None:
    call = await callers.resting(kind, limit=10)
    submits = [(ids.uuid7(), spec(concurrency_key="k")) for _ in range(3)]
    await callers.jobs.submit_many(submits)
    assert await claimed_ids(call) == [submits[0][0]]
    assert await jobs_helpers.claim(callers.jobs, kind) == []


async def test_submit_of_one_job_stores_it_as_claimed(
    callers: Callers, spec: jobs_helpers.MakeSpec, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the job was stored as claimed")

    call = await callers.resting(kind, f"{kind}.other")
    monkeypatch.setattr(claim, "claim", refuse)
    job_id = ids.uuid7()
    job, _ = await callers.jobs.submit(job_id, spec())
    assert (job.state, job.attempt, job.version) == (State.PENDING, 0, 1)
    assert await claimed_ids(call) == [job_id]
    running = await callers.jobs.get(job.job_id, owner_id=None)
    assert (running.state, running.attempt, running.version) == (State.RUNNING, 1, 2)
    assert running.started_at is not None
    assert running.lease_until is not None
    history = await callers.jobs.history(job.job_id, owner_id=None)
    assert [attempt["worker"] for attempt in history.attempts] == [running.worker]
    assert await callers.jobs.submit(job_id, spec()) == (running, False)


@pytest.mark.parametrize("is_single", [True, False], ids=["one by one", "together"])
@pytest.mark.parametrize("is_known", [True, False], ids=["known here", "set elsewhere just now"])
@pytest.mark.parametrize("allowed", [{}, {"max_running": 1}, {"rate_count": 1, "rate_period": timedelta(hours=1)}])
async def test_limits_are_kept(
    callers: Callers,
    replica: Operations,
    spec: jobs_helpers.MakeSpec,
    kind: str,
    allowed: dict[str, object],
    is_known: bool,
    is_single: bool,
) -> None:
    call = await callers.resting(kind, limit=10)
    kind_limits = kind_controls.KindControls(callers.jobs if is_known else replica)
    if allowed:
        await kind_limits.set_limits(kind_controls.Limits(kind=kind, **allowed))  # type: ignore[arg-type]
    else:
        await kind_limits.pause(kind)
    submits = [(ids.uuid7(), spec()) for _ in range(3)]
    for part in [[each] for each in submits] if is_single else [submits]:
        await callers.jobs.submit_many(part)
    callers.jobs.kinds.forget()
    await Maintenance(callers.jobs).wake_all()
    if allowed:
        assert await claimed_ids(call) == [submits[0][0]]
        assert await jobs_helpers.claim(callers.jobs, kind) == []
    else:
        assert [await jobs_helpers.state(callers.jobs, job_id) for job_id, _ in submits] == [State.PENDING] * 3
        await kind_limits.resume(kind)
        callers.jobs.kinds.forget()
        await Maintenance(callers.jobs).wake_all()
        assert await claimed_ids(call) == [job_id for job_id, _ in submits]


async def test_call_of_a_worker_that_lost_a_lease_gets_no_job(
    callers: Callers, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    frozen, lives = await callers.resting(kind, worker="frozen"), await callers.resting(kind)
    callers.jobs.waiters.evict({"frozen"})
    job = await submit_job()
    assert (await claimed_ids(frozen), await claimed_ids(lives)) == ([], [job.job_id])


async def test_job_claimed_for_a_cancelled_call_is_released(
    callers: Callers, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str, eventually: Eventually
) -> None:
    before = await submit_job()
    assert await jobs_helpers.claim(callers.jobs, kind) == [before.job_id]
    call = await callers.resting(kind)
    async with jobs_engine.begin() as conn:
        # A claim locks the owner last.
        lock = sa.text("SELECT pg_backend_pid() FROM jobs.owners WHERE owner_id = :owner FOR UPDATE")
        pid = (await conn.execute(lock, {"owner": before.spec.owner_id})).scalar_one()
        submit = asyncio.ensure_future(submit_job())

        async def stands() -> bool:
            query = sa.text("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE :pid = ANY(pg_blocking_pids(pid)))")
            async with jobs_engine.connect() as probe:
                return bool((await probe.execute(query, {"pid": pid})).scalar())

        await eventually(stands)
        call.cancel()
        await asyncio.wait([call])
    job = await submit

    async def is_back() -> bool:
        now = await callers.jobs.get(job.job_id, owner_id=None)
        return (now.state, now.attempt, now.crashes) == (State.RETRYING, 1, 0)

    await eventually(is_back)
    assert await jobs_helpers.claim(callers.jobs, kind) == [job.job_id]


async def test_two_replicas_hand_off_to_each_other(
    linked_replicas: list[Callers], spec: jobs_helpers.MakeSpec, kind: str
) -> None:
    owners = [uuid4() for _ in range(4)]
    submits = [[(ids.uuid7(), spec(owner_id=owner)) for owner in (*owners, *owners[::-1])] for _ in range(12)]
    claimed: list[domain.Job] = []

    async def work(at: Callers) -> None:
        while len(claimed) < sum(map(len, submits)):
            claimed.extend(await at.call(kind, limit=3, wait=timedelta(milliseconds=500)))

    async def submit(at: Callers, part: int) -> None:
        for batch in submits[part::2]:
            await at.jobs.submit_many(batch)

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for part, at in enumerate(linked_replicas):
            for _ in range(3):
                group.create_task(work(at))
            group.create_task(submit(at, part))
    assert sorted(job.job_id for job in claimed) == sorted(job_id for batch in submits for job_id, _ in batch)
    for owner in owners:
        _, latest = await linked_replicas[0].jobs.list_events(owner, after=0, limit=1)
        assert latest == 2 * sum(job.spec.owner_id == owner for job in claimed), "two events of each, and no gap"
