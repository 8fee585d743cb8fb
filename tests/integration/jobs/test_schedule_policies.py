"""Policies of schedules: missed times, and times while the previous job has not ended."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from chassis import ids
from services.jobs import backlog, domain
from services.jobs.schedules.cron import CatchUp, Overlap
from tests.integration.jobs.schedule_replica import ANOTHER_HOUR, DAILY_AT_ANOTHER_HOUR, ScheduleReplica


@pytest.mark.parametrize(
    ("catch_up", "missed", "count"),
    [(CatchUp.LAST, 3, 1), (CatchUp.ALL, 3, 4), (CatchUp.ALL, 3_000, 100)],
)
async def test_missed_times_are_caught_up(
    schedule: ScheduleReplica, catch_up: CatchUp, missed: int, count: int
) -> None:
    await schedule.register(catch_up=catch_up, overlap=Overlap.ALLOW)
    latest = await schedule.make_due(timedelta(days=missed)) + timedelta(days=missed)
    assert await schedule.fire() == 1
    replica = await schedule.fired()
    times = [latest - timedelta(days=day) for day in range(count - 1, -1, -1)]
    assert [ids.timestamp_of(job.job_id) for job in replica] == times
    assert (await schedule.get()).last_job_id == replica[-1].job_id


async def test_policy_none_fires_a_time_that_has_just_come(schedule: ScheduleReplica) -> None:
    await schedule.register(cron="* * * * *", catch_up=CatchUp.NONE)
    await schedule.set(next_at=datetime.now(UTC) - timedelta(minutes=7))
    assert await schedule.fire() == 1
    [job] = await schedule.fired()
    assert datetime.now(UTC) - ids.timestamp_of(job.job_id) < timedelta(minutes=2)


async def test_policy_none_leaves_missed_times_out(schedule: ScheduleReplica) -> None:
    last_hour = datetime.now(UTC).hour - 1
    await schedule.register(cron=f"0 {last_hour % 24} * * *", catch_up=CatchUp.NONE)
    before = (await schedule.get()).next_at
    assert before is not None
    await schedule.set(next_at=before - timedelta(days=1))
    assert await schedule.fire() == 1
    assert await schedule.fired() == []
    assert (await schedule.get()).next_at == before


async def test_schedule_whose_jobs_nobody_runs_stops_adding_to_them(
    schedule: ScheduleReplica, monkeypatch: pytest.MonkeyPatch
) -> None:
    await schedule.register(overlap=Overlap.ALLOW)
    small = backlog.Backlog(schedule.engine, max_jobs=1)
    monkeypatch.setattr(schedule.schedules, "_backlog", small)
    await schedule.make_due()
    assert await schedule.fire() == 1
    [first] = await schedule.fired()
    await small.measure()
    await schedule.register(cron=DAILY_AT_ANOTHER_HOUR, overlap=Overlap.ALLOW)
    for count in (1, 2):
        await schedule.make_due(timedelta(days=1))
        assert await schedule.fire() == 1
        assert len(await schedule.fired()) == count
        next_at = (await schedule.get()).next_at
        assert next_at is not None
        assert next_at > datetime.now(UTC)
        if count == 1:
            await schedule.jobs.cancel(first.job_id, owner_id=None, reason="r")
            await small.measure()


async def test_policy_skip_leaves_a_time_out_while_the_previous_job_runs(schedule: ScheduleReplica) -> None:
    await schedule.register(overlap=Overlap.SKIP)
    await schedule.make_due()
    await schedule.fire()
    [first] = await schedule.fired()
    await schedule.register(cron=DAILY_AT_ANOTHER_HOUR, overlap=Overlap.SKIP)
    held: list[domain.Job] = []
    # While it is pending, and while it runs.
    for _ in range(2):
        await schedule.make_due(timedelta(days=1))
        assert await schedule.fire() == 1
        assert [job.job_id for job in await schedule.fired()] == [first.job_id]
        held += await schedule.claim()
    await schedule.complete(held[0])
    await schedule.make_due(timedelta(days=1))
    await schedule.fire()
    # Its time may come before that of the first.
    [second] = [job for job in await schedule.fired() if job.job_id != first.job_id]
    assert ids.timestamp_of(second.job_id).hour == ANOTHER_HOUR
    assert (await schedule.get()).last_job_id == second.job_id


async def test_policy_skip_counts_a_job_that_runs_beside_a_triggered_one(schedule: ScheduleReplica) -> None:
    await schedule.register(overlap=Overlap.SKIP)
    await schedule.make_due()
    await schedule.fire()
    [first] = await schedule.fired()
    [running] = await schedule.claim()
    triggered = await schedule.schedules.trigger(schedule.name, ids.uuid7())
    await schedule.jobs.cancel(triggered.job_id, owner_id=None, reason="requested")
    # The latest job has ended, the one before it has not.
    await schedule.register(cron=DAILY_AT_ANOTHER_HOUR, overlap=Overlap.SKIP)
    await schedule.make_due(timedelta(days=1))
    assert await schedule.fire() == 1
    assert {job.job_id for job in await schedule.fired()} == {first.job_id, triggered.job_id}
    await schedule.complete(running)
    await schedule.make_due(timedelta(days=2))
    await schedule.fire()
    assert len(await schedule.fired()) == 3


async def test_policy_queue_makes_the_next_job_wait(schedule: ScheduleReplica) -> None:
    await schedule.register(overlap=Overlap.QUEUE, catch_up=CatchUp.ALL)
    await schedule.make_due(timedelta(days=1))
    await schedule.fire()
    first, second = await schedule.fired()
    assert first.spec.concurrency_key == f"schedule:{schedule.name}"
    [claimed_job] = await schedule.claim()
    assert claimed_job.job_id == first.job_id
    await schedule.complete(claimed_job)
    assert [job.job_id for job in await schedule.claim()] == [second.job_id]


async def test_policy_allow_lets_jobs_run_concurrently(schedule: ScheduleReplica) -> None:
    await schedule.register(overlap=Overlap.ALLOW, catch_up=CatchUp.ALL)
    await schedule.make_due(timedelta(days=1))
    await schedule.fire()
    assert len(await schedule.claim()) == 2
