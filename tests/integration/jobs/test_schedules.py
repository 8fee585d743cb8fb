"""Schedules on a real database: registering, firing, pausing. Time passes by shifting rows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Self
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa

from chassis import errors, ids
from services.jobs import domain, kinds, operations, schema
from services.jobs.domain import State
from services.jobs.schedules import cron, storage
from services.jobs.schedules import operations as schedule_operations
from services.jobs.schedules.cron import CatchUp, Overlap
from tests.integration.jobs.schedule_replica import DAILY, DAILY_AT_ANOTHER_HOUR, ScheduleReplica


async def test_registered_schedule_fires_at_its_next_time(schedule: ScheduleReplica) -> None:
    before = datetime.now(UTC)
    registered = await schedule.register(cron=DAILY, time_zone="Europe/Berlin")
    assert registered.next_at == cron.CronExpression(DAILY, "Europe/Berlin").next(before)
    assert (registered.paused_at, registered.last_at, registered.last_job_id) == (None, None, None)
    assert registered.registration.time_zone == "Europe/Berlin"
    assert await schedule.fire() == 0
    assert await schedule.fired() == []


class Ahead(datetime):
    """A clock that is a day ahead."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        return super().now(tz) + timedelta(days=1)


async def test_next_time_goes_by_the_clock_of_the_database(
    schedule: ScheduleReplica, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (operations, schedule_operations, storage, cron):
        monkeypatch.setattr(module, "datetime", Ahead, raising=False)
    registration = cron.Registration(name=schedule.name, kind=schedule.kind, payload={}, cron="0 * * * *")
    await schedule.jobs.register("w", [], [registration])
    next_at = (await schedule.get()).next_at
    assert next_at is not None and next_at < datetime.now(UTC) + timedelta(hours=2)


async def test_due_schedule_submits_one_system_job(schedule: ScheduleReplica) -> None:
    await schedule.register(payload={"batch": 7})
    time = await schedule.make_due()
    assert await schedule.fire() == 1
    [job] = await schedule.fired()
    assert job.job_id == cron.job_id(schedule.name, time)
    assert (job.spec.owner_id, job.spec.payload, job.state) == (UUID(int=0), {"batch": 7}, State.PENDING)
    after = await schedule.get()
    assert after.last_job_id == job.job_id
    assert after.last_at is not None
    assert after.next_at is not None and after.next_at > datetime.now(UTC) - timedelta(seconds=5)
    assert await schedule.fire() == 0


async def test_the_job_has_the_defaults_of_its_kind(schedule: ScheduleReplica) -> None:
    registration = kinds.Registration(
        kind=schedule.kind, defaults={"max_attempts": 9, "attempt_timeout": timedelta(seconds=5)}
    )
    await schedule.jobs.register("w", [registration], [])
    await schedule.register()
    await schedule.make_due()
    await schedule.fire()
    [job] = await schedule.fired()
    assert (job.spec.max_attempts, job.spec.attempt_timeout) == (9, timedelta(seconds=5))


async def test_two_replicas_that_fire_at_once_submit_one_job(schedule: ScheduleReplica) -> None:
    await schedule.register(overlap=Overlap.ALLOW)
    for _ in range(5):
        time = await schedule.make_due()
        replicas = [
            schedule_operations.Schedules(
                schedule.engine, schedule.jobs.transaction, schedule.jobs.kinds, schedule.jobs.backlog
            )
            for _ in range(4)
        ]
        results = await asyncio.gather(*(replica.fire() for replica in replicas))
        assert sum(count for count, _ in results) == 1
    assert [job.job_id for job in await schedule.fired()] == [cron.job_id(schedule.name, time)]


async def test_time_fired_before_a_restore_is_not_fired_again(schedule: ScheduleReplica) -> None:
    await schedule.register(overlap=Overlap.ALLOW)
    time = await schedule.make_due()
    await schedule.fire()
    # The row as it was before: as if it alone came from a backup.
    await schedule.set(next_at=time, last_at=None, last_job_id=None)
    assert await schedule.fire() == 1
    assert len(await schedule.fired()) == 1
    # Not even with another payload, which makes it another job.
    await schedule.register(payload={"n": 2}, overlap=Overlap.ALLOW)
    await schedule.set(next_at=time)
    assert await schedule.fire() == 1
    assert [job.spec.payload for job in await schedule.fired()] == [{"n": 1}]


async def test_job_and_advance_are_one_transaction(schedule: ScheduleReplica) -> None:
    """A crash between the job and the advance leaves neither: they are one transaction."""
    await schedule.register()
    time = await schedule.make_due()
    with pytest.raises(RuntimeError):
        async with schedule.jobs.transaction() as tx:
            await schedule.schedules._submit_jobs(tx, await schedule.get(), [time])
            raise RuntimeError("the process dies here")
    assert await schedule.fired() == []
    assert (await schedule.get()).next_at == time


async def test_schedule_that_a_deploy_dropped_fires_no_longer(schedule: ScheduleReplica) -> None:
    await schedule.register()
    await schedule.make_due()
    registered = schema.schedules.c.declared_at
    # All workers are away: their schedules still fire.
    async with schedule.engine.begin() as conn:
        await conn.execute(sa.delete(schema.kinds).where(schema.kinds.c.kind == schedule.kind))
    service = f"s{uuid4().hex}"
    await schedule.set(kind=f"{service}.kind", declared_at=registered - timedelta(days=1))
    assert await schedule.fire() == 1
    # Workers of the service are back, without this schedule.
    await schedule.make_due()
    kind = kinds.Registration(kind=f"{service}.other")
    await schedule.jobs.register("w", [kind], [])
    assert await schedule.fire() == 0
    # And with it.
    await schedule.set(declared_at=sa.func.now())
    assert await schedule.fire() == 1


async def test_repeated_registration_keeps_history_and_next_time(schedule: ScheduleReplica) -> None:
    await schedule.register()
    await schedule.make_due(timedelta(days=1))
    await schedule.fire()
    due = await schedule.make_due()
    fired = await schedule.get()
    again = await schedule.register(payload={"n": 2}, catch_up=CatchUp.ALL)
    assert (again.next_at, again.last_at, again.last_job_id) == (due, fired.last_at, fired.last_job_id)
    assert (again.registration.payload, again.registration.catch_up) == ({"n": 2}, CatchUp.ALL)


@pytest.mark.parametrize("other", [{"cron": "0 0 1 1 *"}, {"cron": DAILY, "time_zone": "Asia/Tokyo"}])
async def test_changed_cron_recomputes_the_next_time(schedule: ScheduleReplica, other: dict[str, str]) -> None:
    await schedule.register()
    await schedule.make_due()
    again = await schedule.register(**other)
    expected = cron.CronExpression(other["cron"], other.get("time_zone", "UTC")).next(datetime.now(UTC))
    assert again.next_at == expected


async def test_paused_schedule_does_not_fire_and_resumes_from_now(schedule: ScheduleReplica) -> None:
    await schedule.register(catch_up=CatchUp.ALL)
    await schedule.make_due(timedelta(days=5))
    paused = await schedule.schedules.pause(schedule.name)
    assert paused.next_at is None
    assert await schedule.schedules.pause(schedule.name) == paused
    # A worker that starts does not end the pause, whatever it registers.
    assert (await schedule.register(cron=DAILY_AT_ANOTHER_HOUR, catch_up=CatchUp.ALL)).paused_at == paused.paused_at
    assert await schedule.fire() == 0
    resumed = await schedule.schedules.resume(schedule.name)
    assert resumed.paused_at is None
    assert resumed.next_at is not None and resumed.next_at > datetime.now(UTC) - timedelta(seconds=5)
    assert await schedule.schedules.resume(schedule.name) == resumed
    await schedule.fire()
    assert await schedule.fired() == []


async def test_trigger_submits_one_job_at_once(schedule: ScheduleReplica) -> None:
    await schedule.register()
    await schedule.schedules.pause(schedule.name)
    job_id = ids.uuid7()
    first = await schedule.schedules.trigger(schedule.name, job_id)
    assert (first.job_id, first.spec.owner_id, first.state) == (job_id, domain.SYSTEM, State.PENDING)
    assert (await schedule.schedules.trigger(schedule.name, job_id)).job_id == job_id
    assert len(await schedule.fired()) == 1
    assert (await schedule.get()).last_job_id == job_id
    # Another one waits for the first: they never run beside each other unless that is allowed.
    await schedule.schedules.trigger(schedule.name, ids.uuid7())
    assert [job.job_id for job in await schedule.claim()] == [job_id]


async def test_a_trigger_with_the_id_of_another_job_is_refused(
    schedule: ScheduleReplica, submit_job: Callable[..., Any]
) -> None:
    other = await submit_job()
    await schedule.register()
    with pytest.raises(errors.AlreadyExists) as excinfo:
        await schedule.schedules.trigger(schedule.name, other.job_id)
    assert excinfo.value.code == "job_id_taken"
    assert (await schedule.get()).last_job_id is None


@pytest.mark.parametrize("act", ["pause", "resume", "trigger"])
async def test_an_unknown_schedule_is_not_found(schedule: ScheduleReplica, act: str) -> None:
    arguments = (uuid4(),) if act == "trigger" else ()
    with pytest.raises(errors.NotFound) as excinfo:
        await getattr(schedule.schedules, act)("nobody.registered", *arguments)
    assert excinfo.value.code == "schedule_not_found"


async def test_removed_time_zone_stops_no_other_schedule(schedule: ScheduleReplica) -> None:
    await schedule.register()
    broken = f"{schedule.kind}.broken"
    async with schedule.engine.begin() as conn:
        row = cron.Registration(name=broken, kind=schedule.kind, payload={}, cron="* * * * *")
        await schedule_operations.register(conn, [row])
        unknown_zone = {"time_zone": "Atlantis/Capital", "next_at": datetime(2020, 1, 1, tzinfo=UTC)}
        await conn.execute(sa.update(schema.schedules).where(schema.schedules.c.name == broken).values(**unknown_zone))
    await schedule.make_due()
    assert await schedule.fire() == 2
    assert len(await schedule.fired()) == 1
    assert await schedule.fire() == 0


async def test_schedule_whose_job_is_refused_stops_no_other_schedule(schedule: ScheduleReplica) -> None:
    await schedule.register()
    poison = f"{schedule.kind}.poison"
    async with schedule.engine.begin() as conn:
        row = cron.Registration(name=poison, kind=schedule.kind, payload={"poison": schedule.kind}, cron="* * * * *")
        await schedule_operations.register(conn, [row])
        due = sa.update(schema.schedules).where(schema.schedules.c.name == poison)
        await conn.execute(due.values(next_at=datetime(2020, 1, 1, tzinfo=UTC)))
        # No valid job breaks a rule of the database. One of another release may.
        rule = f"coalesce(payload ->> 'poison', '') <> '{schedule.kind}'"
        await conn.execute(sa.text(f"ALTER TABLE jobs.jobs ADD CONSTRAINT poison_schedule CHECK ({rule}) NOT VALID"))
    try:
        await schedule.make_due()
        assert await schedule.fire() == 1
        assert len(await schedule.fired()) == 1
    finally:
        async with schedule.engine.begin() as conn:
            await conn.execute(sa.text("ALTER TABLE jobs.jobs DROP CONSTRAINT poison_schedule"))
    # Its time is not lost.
    assert await schedule.fire() == 1


async def test_invalid_schedules_are_refused_and_not_stored(schedule: ScheduleReplica) -> None:
    good = cron.Registration(name=schedule.name, kind=schedule.kind, payload={}, cron="* * * * *")
    bad = cron.Registration(name=f"{schedule.name}.2", kind=schedule.kind, payload={}, cron="* * * *")
    for registrations, field in (([good, bad], "cron"), ([good, good], "name"), ([good] * 101, "schedules")):
        async with schedule.engine.begin() as conn:
            with pytest.raises(errors.InvalidArgument) as excinfo:
                await schedule_operations.register(conn, registrations)
        assert excinfo.value.field == field
    assert schedule.name not in {item.registration.name for item in await schedule.schedules.list_all()}


async def test_the_schedule_of_another_service_is_not_taken_over(schedule: ScheduleReplica) -> None:
    before = await schedule.register()
    with pytest.raises(errors.InvalidArgument) as excinfo:
        await schedule.register(kind="auth.sweep")
    assert excinfo.value.field == "name"
    assert await schedule.get() == before


async def test_pause_outlives_the_workers_of_a_schedule(schedule: ScheduleReplica) -> None:
    await schedule.register()
    await schedule.schedules.pause(schedule.name)
    paused_at = (await schedule.get()).paused_at
    await schedule.set(declared_at=datetime.now(UTC) - timedelta(days=30))
    async with schedule.engine.begin() as conn:
        await storage.delete_unregistered(conn, age=timedelta(days=7))
    assert (await schedule.register()).paused_at == paused_at
    await schedule.schedules.resume(schedule.name)
    await schedule.set(declared_at=datetime.now(UTC) - timedelta(days=30))
    async with schedule.engine.begin() as conn:
        await storage.delete_unregistered(conn, age=timedelta(days=7))
    assert schedule.name not in {item.registration.name for item in await schedule.schedules.list_all()}
