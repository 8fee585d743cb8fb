"""Concurrency keys: jobs of a key run in order, a bounded number at once, and no slot is lost."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import ids
from services.jobs import maintenance, outcomes, storage
from services.jobs.domain import State
from services.jobs.maintenance import Maintenance
from services.jobs.operations import Operations
from tests.integration.jobs import jobs_helpers

KEY = "one"


async def test_jobs_with_one_key_run_one_after_the_other_in_their_order(
    jobs: Operations, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    first, later, urgent = [await submit_job(concurrency_key=KEY, priority=priority) for priority in (0, 0, 5)]
    beside = await submit_job(concurrency_key="another")
    assert await jobs_helpers.claim(jobs, kind) == [first.job_id, beside.job_id]
    waiting = await jobs.history(later.job_id, owner_id=None)
    assert (waiting.awaits_slot, waiting.jobs_ahead, waiting.lacks_worker) == (True, None, True)
    for before, after in ((first, urgent), (urgent, later)):
        await jobs_helpers.complete(jobs, before.job_id)
        assert await jobs_helpers.claim(jobs, kind) == [after.job_id]


async def test_later_jobs_of_a_key_stay_behind(jobs: Operations, submit_job: jobs_helpers.Submit, kind: str) -> None:
    first, second = await submit_job(concurrency_key=KEY), await submit_job(concurrency_key=KEY)
    assert await jobs_helpers.claim(jobs, kind) == [first.job_id]
    third = await submit_job(concurrency_key=KEY)
    fourth = await submit_job(concurrency_key=KEY, owner_id=uuid4())
    for before, after in ((first, second), (second, third), (third, fourth)):
        await jobs_helpers.complete(jobs, before.job_id)
        assert await jobs_helpers.claim(jobs, kind) == [after.job_id]


@pytest.mark.parametrize("skew", [timedelta(hours=-1), timedelta(days=-365), timedelta(hours=1)])
async def test_submitter_whose_clock_is_wrong_changes_no_order(
    jobs: Operations, spec: jobs_helpers.MakeSpec, kind: str, skew: timedelta
) -> None:
    order = []
    for number in range(4):
        time = datetime.now(UTC) + (skew if number == 2 else timedelta())
        order.append(ids.uuid7_of(time, f"{kind} {number}"))
        await jobs.submit(order[-1], spec(concurrency_key=KEY))
    for job_id in order:
        assert await jobs_helpers.claim(jobs, kind) == [job_id]
        await jobs_helpers.complete(jobs, job_id)


async def test_batch_of_one_key_runs_in_the_order_of_its_ids(
    jobs: Operations, spec: jobs_helpers.MakeSpec, kind: str
) -> None:
    order = [ids.uuid7() for _ in range(5)]
    await jobs.submit_many([(job_id, spec(concurrency_key=KEY)) for job_id in order])
    for job_id in order:
        assert await jobs_helpers.claim(jobs, kind) == [job_id]
        await jobs_helpers.complete(jobs, job_id)


async def test_concurrency_keys_are_separate_per_kind(
    jobs: Operations, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    await submit_job(concurrency_key=KEY)
    other = await submit_job(concurrency_key=KEY, kind=f"{kind}.other")
    assert await jobs_helpers.claim(jobs, f"{kind}.other") == [other.job_id]


async def test_kind_may_allow_several_slots_per_key(
    jobs: Operations, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    job_ids = [(await submit_job(concurrency_key=KEY)).job_id for _ in range(5)]
    assert await jobs_helpers.claim(jobs, kind) == job_ids[:1]
    await jobs_helpers.limit(jobs, kind, max_running_per_key=3)
    assert await jobs_helpers.claim(jobs, kind) == job_ids[1:3]
    await jobs_helpers.limit(jobs, kind, max_running_per_key=1)
    await jobs_helpers.complete(jobs, *job_ids[:2])
    assert await jobs_helpers.claim(jobs, kind) == []
    await jobs_helpers.complete(jobs, job_ids[2])
    assert await jobs_helpers.claim(jobs, kind) == job_ids[3:4]


async def test_retrying_job_keeps_its_slot(
    jobs: Operations, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    first, second = await submit_job(concurrency_key=KEY), await submit_job(concurrency_key=KEY)
    await jobs_helpers.claim_one(jobs, kind)
    await jobs.finish(first.job_id, 1, jobs_helpers.ERROR)
    await jobs_helpers.shift(jobs_engine, first.job_id, "run_at = now() + interval '1 hour'")
    await submit_job(concurrency_key=KEY)
    await Maintenance(jobs).admit_waiting()
    assert await jobs_helpers.claim(jobs, kind) == []
    await jobs_helpers.come_due(jobs, jobs_engine, first.job_id)
    assert await jobs_helpers.claim(jobs, kind) == [first.job_id]
    await jobs_helpers.complete(jobs, first.job_id)
    assert await jobs_helpers.claim(jobs, kind) == [second.job_id]


async def test_scheduled_job_takes_no_slot_before_its_time(
    jobs: Operations, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    later = await submit_job(concurrency_key=KEY, run_at=datetime.now(UTC) + timedelta(hours=1))
    first = await submit_job(concurrency_key=KEY)
    assert await jobs_helpers.claim(jobs, kind) == [first.job_id]
    await jobs_helpers.come_due(jobs, jobs_engine, later.job_id)
    assert await jobs_helpers.state(jobs, later.job_id) is State.PENDING
    assert await jobs_helpers.claim(jobs, kind) == []
    await jobs_helpers.complete(jobs, first.job_id)
    assert await jobs_helpers.claim(jobs, kind) == [later.job_id]


@pytest.mark.parametrize("way", ["complete", "fail", "cancel", "cancel_running", "snooze", "die", "expire"])
async def test_slot_is_passed_on_after_each_end_of_its_holder(
    jobs: Operations, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str, way: str
) -> None:
    holder = await submit_job(concurrency_key=KEY, max_attempts=1, total_timeout=timedelta(hours=1))
    waiting = await submit_job(concurrency_key=KEY)
    if way == "cancel":
        await jobs.cancel(holder.job_id, owner_id=None, reason="r")
    elif way == "expire":
        await jobs_helpers.shift(jobs_engine, holder.job_id, "deadline = now()")
        await Maintenance(jobs).fail_overdue()
    else:
        await jobs_helpers.claim_one(jobs, kind)
        if way in {"cancel_running", "die"}:
            await jobs.cancel(holder.job_id, owner_id=None, reason="r")
            assert await jobs_helpers.claim(jobs, kind) == []
        endings: dict[str, outcomes.Outcome] = {
            "complete": outcomes.Completed(),
            "fail": jobs_helpers.ERROR,
            "cancel_running": outcomes.Cancelled(reason="r"),
            "snooze": outcomes.Snoozed(delay=timedelta(hours=1)),
        }
        if way == "die":
            await jobs_helpers.crash(jobs, jobs_engine, holder.job_id)
        else:
            await jobs.finish(holder.job_id, 1, endings[way])
    assert await jobs_helpers.claim(jobs, kind) == [waiting.job_id]


async def test_a_job_that_is_retried_waits_for_its_key_again(
    jobs: Operations, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    first, second = await submit_job(concurrency_key=KEY), await submit_job(concurrency_key=KEY)
    await jobs.cancel(first.job_id, owner_id=None, reason="r")
    assert await jobs_helpers.claim(jobs, kind) == [second.job_id]
    await jobs.retry(first.job_id, owner_id=None)
    assert await jobs_helpers.claim(jobs, kind) == []
    await jobs_helpers.complete(jobs, second.job_id)
    assert await jobs_helpers.claim(jobs, kind) == [first.job_id]


async def test_concurrent_submits_and_finishes_neither_lose_nor_duplicate_slots(
    jobs: Operations, replica: Operations, spec: jobs_helpers.MakeSpec, kind: str
) -> None:
    submits = [(ids.uuid7(), spec(concurrency_key=KEY)) for _ in range(60)]
    running = most = 0
    order: list[UUID] = []

    async def submit() -> None:
        for n, (job_id, item) in enumerate(submits):
            await (jobs, replica)[n % 2].submit(job_id, item)

    async def work(on: Operations) -> None:
        nonlocal running, most
        while len(order) < len(submits):
            for job_id in await jobs_helpers.claim(on, kind):
                running += 1
                most = max(most, running)
                order.append(job_id)
                await asyncio.sleep(0)
                running -= 1
                await on.finish(job_id, 1, outcomes.Completed())

    async with asyncio.timeout(60):
        await asyncio.gather(submit(), work(jobs), work(replica), work(replica))
    assert most == 1
    assert order == [job_id for job_id, _ in submits]


async def test_concurrent_submits_of_a_key_take_one_slot(
    jobs: Operations, replica: Operations, spec: jobs_helpers.MakeSpec, kind: str
) -> None:
    for n in range(10):
        key = f"{KEY}.{n}"
        batches = [[(ids.uuid7(), spec(concurrency_key=key))] for _ in range(8)]
        await asyncio.gather(*((jobs, replica)[n % 2].submit_many(batch) for n, batch in enumerate(batches)))
    claimed = await jobs.claim(worker="w1", kinds=[kind], limit=100)
    assert sorted(job.spec.concurrency_key or "" for job in claimed) == sorted(f"{KEY}.{n}" for n in range(10))


async def test_lost_slot_is_found(
    jobs: Operations, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    first, _ = await submit_job(concurrency_key=KEY), await submit_job(concurrency_key=KEY)
    await jobs_helpers.shift(jobs_engine, first.job_id, "ready = false")
    assert await jobs_helpers.claim(jobs, kind) == []
    await Maintenance(jobs).admit_waiting()
    assert await jobs_helpers.claim(jobs, kind) == [first.job_id]


async def test_higher_limit_admits_many_waiting_jobs_in_parts(
    jobs: Operations,
    spec: jobs_helpers.MakeSpec,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A hundred thousand jobs of a key would exceed the time of a statement, and then no job of the key could end."""
    monkeypatch.setattr(storage, "MAX_ADMITTED_OF_KEY", 2)
    monkeypatch.setattr(storage, "MAX_ADMITTED", 3)
    keys = ("one", "two")
    await jobs.submit_many([(ids.uuid7(), spec(concurrency_key=key)) for key in keys for _ in range(5)])
    running = await jobs.claim(worker="w1", kinds=[kind], limit=10)
    assert [job.spec.concurrency_key for job in running] == list(keys)
    await jobs_helpers.limit(jobs, kind, max_running_per_key=1_000_000)
    assert len(await jobs_helpers.claim(jobs, kind)) == 3
    await jobs_helpers.complete(jobs, running[1].job_id)
    assert len(await jobs_helpers.claim(jobs, kind)) == 2
    await maintenance.drain(Maintenance(jobs).admit_waiting)
    assert len(await jobs_helpers.claim(jobs, kind)) == 3
