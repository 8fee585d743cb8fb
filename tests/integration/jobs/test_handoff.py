"""A submit serves who waits in its own transaction: as if that one had claimed right after it, or not at all."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import ids
from services.jobs import domain, transaction
from services.jobs.domain import State
from services.jobs.maintenance import Maintenance
from services.jobs.operations import Operations
from services.jobs.operators import kind_controls
from tests.integration.jobs import jobs_helpers
from tests.integration.jobs.claim_calls import Callers, Eventually, got


async def test_it_is_submitted_and_claimed_by_one_transaction(
    here: Callers, jobs_engine: AsyncEngine, submitted: jobs_helpers.Submit, kind: str
) -> None:
    call = await here.resting(kind)
    job = await submitted()
    assert (job.state, job.attempt) == (State.PENDING, 0)
    assert await got(call) == [job.job_id]
    async with jobs_engine.connect() as conn:
        query = sa.text("SELECT sequence, reason, xmin::text FROM jobs.job_events WHERE job_id = :id ORDER BY sequence")
        found = (await conn.execute(query, {"id": job.job_id})).all()
    assert [row[:2] for row in found] == [(1, "submitted"), (2, "claimed")]
    assert len({row[2] for row in found}) == 1


async def test_what_is_not_committed_is_given_to_nobody(
    here: Callers, submitted: jobs_helpers.Submit, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = await here.resting(kind)
    with monkeypatch.context() as patched:

        async def fail(self: transaction.Transaction) -> None:
            assert [reason for _, reason in self.transitions] == ["submitted", "claimed"]
            raise RuntimeError("nothing of it is left")

        patched.setattr(transaction.Transaction, "write_events", fail)
        with pytest.raises(RuntimeError):
            await submitted()
    assert here.jobs.waiters.count == 1
    job = await submitted()
    assert await got(call) == [job.job_id]


async def test_who_waits_gets_what_is_best_and_the_next_one_what_was_submitted(
    here: Callers, replica: Operations, spec: jobs_helpers.MakeSpec, submitted: jobs_helpers.Submit, kind: str
) -> None:
    first, second = await here.resting(kind), await here.resting(kind)
    # No wake-up announces it here.
    urgent, _ = await replica.submit(ids.uuid7(), spec(priority=5))
    job = await submitted()
    assert (await got(first), await got(second)) == ([urgent.job_id], [job.job_id])


async def test_owners_take_turns(here: Callers, replica: Operations, spec: jobs_helpers.MakeSpec, kind: str) -> None:
    call = await here.resting(kind, limit=2)
    one, _ = await replica.submit(ids.uuid7(), spec(owner_id=uuid4()))
    many = [(ids.uuid7(), spec()) for _ in range(3)]
    await here.jobs.submit_many(many)
    assert await got(call) == [one.job_id, many[0][0]]
    assert await jobs_helpers.claim(here.jobs, kind) == [job_id for job_id, _ in many[1:]]


async def test_of_one_key_one_runs(here: Callers, spec: jobs_helpers.MakeSpec, kind: str) -> None:
    call = await here.resting(kind, limit=10)
    wanted = [(ids.uuid7(), spec(concurrency_key="k")) for _ in range(3)]
    await here.jobs.submit_many(wanted)
    assert await got(call) == [wanted[0][0]]
    assert await jobs_helpers.claim(here.jobs, kind) == []


@pytest.mark.parametrize("is_known", [True, False], ids=["known here", "set elsewhere just now"])
@pytest.mark.parametrize("allowed", [{}, {"max_running": 1}, {"rate_count": 1, "rate_period": timedelta(hours=1)}])
async def test_limits_are_kept(
    here: Callers,
    replica: Operations,
    spec: jobs_helpers.MakeSpec,
    kind: str,
    allowed: dict[str, object],
    is_known: bool,
) -> None:
    call = await here.resting(kind, limit=10)
    steering = kind_controls.KindControls(here.jobs if is_known else replica)
    if allowed:
        await steering.set_limits(kind_controls.Limits(kind=kind, **allowed))  # type: ignore[arg-type]
    else:
        await steering.pause(kind)
    wanted = [(ids.uuid7(), spec()) for _ in range(3)]
    await here.jobs.submit_many(wanted)
    here.jobs.kinds.forget()
    await Maintenance(here.jobs).wake_all()
    if allowed:
        assert await got(call) == [wanted[0][0]]
        assert await jobs_helpers.claim(here.jobs, kind) == []
    else:
        assert [await jobs_helpers.state(here.jobs, job_id) for job_id, _ in wanted] == [State.PENDING] * 3
        await steering.resume(kind)
        here.jobs.kinds.forget()
        await Maintenance(here.jobs).wake_all()
        assert await got(call) == [job_id for job_id, _ in wanted]


async def test_one_who_lost_a_lease_is_not_served(here: Callers, submitted: jobs_helpers.Submit, kind: str) -> None:
    frozen, lives = await here.resting(kind, worker="frozen"), await here.resting(kind)
    here.jobs.waiters.evict({"frozen"})
    job = await submitted()
    assert (await got(frozen), await got(lives)) == ([], [job.job_id])


async def test_what_was_claimed_for_one_who_left_meanwhile_is_handed_back(
    here: Callers, jobs_engine: AsyncEngine, submitted: jobs_helpers.Submit, kind: str, eventually: Eventually
) -> None:
    before = await submitted()
    assert await jobs_helpers.claim(here.jobs, kind) == [before.job_id]
    call = await here.resting(kind)
    async with jobs_engine.begin() as conn:
        # Its owner is what a claim locks last.
        lock = sa.text("SELECT pg_backend_pid() FROM jobs.owners WHERE owner_id = :owner FOR UPDATE")
        pid = (await conn.execute(lock, {"owner": before.spec.owner_id})).scalar_one()
        submit = asyncio.ensure_future(submitted())

        async def stands() -> bool:
            query = sa.text("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE :pid = ANY(pg_blocking_pids(pid)))")
            async with jobs_engine.connect() as look:
                return bool((await look.execute(query, {"pid": pid})).scalar())

        await eventually(stands)
        call.cancel()
        await asyncio.wait([call])
    job = await submit

    async def is_back() -> bool:
        now = await here.jobs.get(job.job_id, owner_id=None)
        return (now.state, now.attempt, now.crashes) == (State.RETRYING, 1, 0)

    await eventually(is_back)
    assert await jobs_helpers.claim(here.jobs, kind) == [job.job_id]


async def test_two_replicas_serve_crosswise(heard: list[Callers], spec: jobs_helpers.MakeSpec, kind: str) -> None:
    owners = [uuid4() for _ in range(4)]
    wanted = [[(ids.uuid7(), spec(owner_id=owner)) for owner in (*owners, *owners[::-1])] for _ in range(12)]
    found: list[domain.Job] = []

    async def work(at: Callers) -> None:
        while len(found) < sum(map(len, wanted)):
            found.extend(await at.call(kind, limit=3, wait=timedelta(milliseconds=500)))

    async def submit(at: Callers, part: int) -> None:
        for batch in wanted[part::2]:
            await at.jobs.submit_many(batch)

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for part, at in enumerate(heard):
            for _ in range(3):
                group.create_task(work(at))
            group.create_task(submit(at, part))
    assert sorted(job.job_id for job in found) == sorted(job_id for batch in wanted for job_id, _ in batch)
    for owner in owners:
        _, latest = await heard[0].jobs.list_events(owner, after=0, limit=1)
        assert latest == 2 * sum(job.spec.owner_id == owner for job in found), "two events of each, and no gap"
