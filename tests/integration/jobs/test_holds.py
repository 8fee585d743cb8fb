"""Jobs on hold: nothing starts them before their release, everything else ends them, and they raise no alarm."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import errors
from repruv.jobs.v1 import job_events_pb2, job_pb2
from services.jobs import convert, domain, outcomes
from services.jobs.domain import State
from services.jobs.maintenance import Maintenance
from services.jobs.operations import Operations
from services.jobs.operators import change_log, overview
from services.jobs.operators.holds import Holds
from services.jobs.operators.job_filters import JobFilter
from services.jobs.operators.job_search import JobSearch
from services.jobs.operators.overview import Overview
from tests.integration.jobs import jobs_helpers


@pytest.fixture
def holds(jobs: Operations) -> Holds:
    """Return the holds of jobs."""
    return Holds(jobs)


async def run_maintenance(jobs: Operations) -> None:
    """Do everything that starts waiting jobs."""
    maintenance = Maintenance(jobs)
    for task in (maintenance.promote_due, maintenance.admit_waiting, maintenance.fail_overdue):
        while await task():
            pass


async def waiting_job(jobs: Operations, submit: jobs_helpers.Submit, engine: AsyncEngine, cause: str) -> domain.Job:
    """Return a job that waits: for a worker, its time, its next attempt, a slot of its key, or its child."""
    if cause == "scheduled":
        return await submit(run_at=datetime.now(UTC) + jobs_helpers.HOUR)
    job = await submit(concurrency_key=cause if cause == "slot" else None)
    if cause == "slot":
        job = await submit(concurrency_key=cause)
    elif cause in ("retrying", "ready_retry", "children"):
        await jobs_helpers.claim_one(jobs, job.spec.kind)
        if cause == "children":
            await submit(parent_id=job.job_id, kind=f"{job.spec.kind}-child")
        await jobs.finish(job.job_id, 1, outcomes.Waiting() if cause == "children" else jobs_helpers.ERROR)
    if cause == "ready_retry":
        await jobs_helpers.come_due(jobs, engine, job.job_id)
    return await jobs.get(job.job_id, owner_id=None)


WAITS = ("pending", "scheduled", "retrying", "ready_retry", "slot", "children")


@pytest.mark.parametrize("cause", WAITS)
async def test_a_job_on_hold_starts_after_its_release_at_its_former_time(
    jobs: Operations, holds: Holds, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str, cause: str
) -> None:
    before = await waiting_job(jobs, submit_job, jobs_engine, cause)
    held = await holds.hold(before.job_id, actor_id=None)
    assert (held.is_on_hold, held.ready, held.version) == (True, False, before.version + 1)
    snapshot = convert.job_to_proto(held)
    assert (snapshot.on_hold, snapshot.state) == (True, job_pb2.JOB_STATE_SCHEDULED)
    assert not snapshot.HasField("next_run_time")
    if cause == "slot":
        await jobs_helpers.complete(jobs, *(await jobs_helpers.claim(jobs, kind)))
    if cause == "children":
        await jobs_helpers.complete(jobs, *(await jobs_helpers.claim(jobs, f"{kind}-child")))
    await run_maintenance(jobs)
    assert await jobs_helpers.claim(jobs, kind) == []

    released = await holds.release(before.job_id, actor_id=None)
    assert not released.is_on_hold
    assert released.run_at
    assert before.run_at
    if before.run_at > released.created_at + timedelta(minutes=30) or cause == "retrying":
        assert released.run_at >= before.run_at
    if cause == "scheduled":
        assert released.run_at == before.run_at
        assert convert.job_to_proto(released).HasField("next_run_time")
        await run_maintenance(jobs)
        assert await jobs_helpers.claim(jobs, kind) == []
    await jobs_helpers.come_due(jobs, jobs_engine, before.job_id)
    claimed = await jobs_helpers.claim_one(jobs, kind)
    assert (claimed.job_id, claimed.attempt, claimed.errors) == (before.job_id, before.attempt + 1, before.errors)


async def test_a_released_job_is_due_at_once_and_not_the_oldest_that_waits(
    jobs: Operations, holds: Holds, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    job = await submit_job()
    await jobs_helpers.shift(jobs_engine, job.job_id, "run_at = now() - interval '2 days'")
    await holds.hold(job.job_id, actor_id=None)
    jobs.changed.clear()
    await holds.release(job.job_id, actor_id=None)
    assert jobs.changed.is_set()
    await run_maintenance(jobs)
    waiting_since = (await Overview(jobs_engine).get_kind(kind))["oldest_waiting_at"]
    assert datetime.now(UTC) - waiting_since < jobs_helpers.HOUR
    assert (await jobs_helpers.claim_one(jobs, kind)).job_id == job.job_id


async def test_a_job_on_hold_takes_no_slot_and_keeps_its_unique_key(
    jobs: Operations, holds: Holds, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    first = await submit_job(concurrency_key="k", unique_key=f"{kind}-1")
    second = await submit_job(concurrency_key="k")
    await holds.hold(first.job_id, actor_id=None)
    assert await jobs_helpers.claim(jobs, kind) == [second.job_id]
    with pytest.raises(errors.AlreadyExists):
        await submit_job(unique_key=f"{kind}-1")
    await holds.release(first.job_id, actor_id=None)
    await run_maintenance(jobs)
    assert await jobs_helpers.claim(jobs, kind) == []
    await jobs_helpers.complete(jobs, second.job_id)
    assert await jobs_helpers.claim(jobs, kind) == [first.job_id]


@pytest.mark.parametrize("cause", ["deadline", "cancel", "parent"])
async def test_a_job_on_hold_ends_as_any_waiting_job_and_a_retry_of_it_runs(
    jobs: Operations, holds: Holds, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str, cause: str
) -> None:
    parent = await submit_job(kind=f"{kind}-parent")
    job = await submit_job(total_timeout=jobs_helpers.HOUR, parent_id=parent.job_id if cause == "parent" else None)
    await holds.hold(job.job_id, actor_id=None)
    if cause == "deadline":
        await jobs_helpers.shift(jobs_engine, job.job_id, "deadline = now()")
        await run_maintenance(jobs)
    else:
        await jobs.cancel(parent.job_id if cause == "parent" else job.job_id, owner_id=job.spec.owner_id, reason="r")
    ended = await jobs.get(job.job_id, owner_id=None)
    assert ended.state is (State.FAILED if cause == "deadline" else State.CANCELLED)
    assert not ended.is_on_hold
    if cause == "parent":
        return
    assert not (await jobs.retry(job.job_id, owner_id=None)).is_on_hold
    assert await jobs_helpers.claim(jobs, kind) == [job.job_id]


async def test_only_waiting_jobs_are_put_on_hold_and_repeats_change_nothing(
    jobs: Operations, holds: Holds, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    job = await submit_job()
    with pytest.raises(errors.NotFound):
        await holds.hold(uuid4(), actor_id=None)
    assert (await holds.release(job.job_id, actor_id=None)).version == job.version
    held = await holds.hold(job.job_id, actor_id=None)
    assert await holds.hold(job.job_id, actor_id=None) == held
    await holds.release(job.job_id, actor_id=None)
    await run_maintenance(jobs)
    await jobs_helpers.claim_one(jobs, kind)
    with pytest.raises(errors.FailedPrecondition) as running:
        await holds.hold(job.job_id, actor_id=None)
    await jobs_helpers.complete(jobs, job.job_id)
    with pytest.raises(errors.FailedPrecondition) as completed:
        await holds.hold(job.job_id, actor_id=None)
    assert (running.value.code, completed.value.code) == ("job_not_holdable", "job_not_holdable")
    assert (await holds.release(job.job_id, actor_id=None)).state is State.COMPLETED


async def test_owners_get_an_event_and_operators_read_who_did_it(
    jobs: Operations,
    holds: Holds,
    jobs_engine: AsyncEngine,
    submit_job: jobs_helpers.Submit,
    owner_id: UUID,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(change_log.JOBS, "max_count", 3)
    job, admin_id = await submit_job(), uuid4()

    async def changes() -> list[tuple[str, UUID | None]]:
        return [(each.change, each.actor_id) for each in (await jobs.history(job.job_id, owner_id=None)).changes]

    await holds.hold(job.job_id, actor_id=admin_id)
    await holds.release(job.job_id, actor_id=None)
    raw, _ = await jobs.list_events(owner_id, after=0, limit=10)
    events = [job_events_pb2.JobEvent.FromString(event) for event in raw]
    assert [(event.reason, event.job.on_hold) for event in events] == [
        ("submitted", False),
        ("put_on_hold", True),
        ("released_from_hold", False),
    ]
    assert await changes() == [("release", None), ("hold", admin_id)]
    for _ in range(2):
        await holds.hold(job.job_id, actor_id=admin_id)
        await holds.release(job.job_id, actor_id=admin_id)
    assert await changes() == [("release", admin_id), ("hold", admin_id), ("release", admin_id)]
    async with jobs_engine.begin() as conn:
        await change_log.JOBS.forget_actor(conn, admin_id, limit=10)
    assert await changes() == [("release", None), ("hold", None), ("release", None)]


async def test_a_job_on_hold_is_a_problem_of_its_own_and_no_other(
    jobs: Operations,
    holds: Holds,
    jobs_engine: AsyncEngine,
    submit_job: jobs_helpers.Submit,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(overview, "MAX_PROBLEMS", 100_000)  # other tests leave theirs
    job = await submit_job()
    await jobs_helpers.shift(jobs_engine, job.job_id, "run_at = now() - interval '2 days', crashes = 3")
    await holds.hold(job.job_id, actor_id=None)
    problems = [each for each in await Overview(jobs_engine).list_problems() if each.kind == kind]
    assert [(each.reason, each.count) for each in problems] == [("on_hold", 1)]
    assert problems[0].age < jobs_helpers.HOUR
    assert (await Overview(jobs_engine).get_kind(kind))["oldest_waiting_at"] is None
    await submit_job(run_at=datetime.now(UTC) + jobs_helpers.HOUR)
    await jobs_helpers.shift(jobs_engine, (await submit_job()).job_id, "run_at = now() - interval '10 minutes'")
    async with jobs_engine.begin() as conn:
        await conn.execute(sa.text("UPDATE jobs.job_changes SET changed_at = now() - interval '1 year'"))
    stuck = [each for each in await Overview(jobs_engine).list_stuck(limit=100_000) if each.job.spec.kind == kind]
    assert [each.reason for each in stuck] == ["no_worker", "on_hold"], "those on hold for long hide no others"
    for selected in (JobFilter(problem="on_hold", kinds={kind}), JobFilter(on_hold=True, kinds={kind})):
        assert (await JobSearch(jobs_engine).count(selected)).groups == [(kind, State.SCHEDULED, 1)]


@pytest.mark.parametrize(
    "change",
    [
        "state = 'pending', ready = true",
        "state = 'retrying'",
        "state = 'running', worker = 'w', lease_until = now(), attempt = 1, started_at = now()",
        "hold_run_at = NULL",
        "hold_run_at = run_at",
        "run_at = run_at + interval '1 day'",
    ],
)
async def test_the_database_rejects_what_no_job_on_hold_is(
    holds: Holds, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, change: str
) -> None:
    job = await submit_job()
    await holds.hold(job.job_id, actor_id=None)
    with pytest.raises(IntegrityError, match="jobs_on_hold_whole"):
        await jobs_helpers.shift(jobs_engine, job.job_id, change)


async def test_a_job_that_the_previous_release_reopens_is_on_hold_no_longer(
    jobs: Operations, holds: Holds, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    job = await submit_job()
    await holds.hold(job.job_id, actor_id=None)
    await jobs.cancel(job.job_id, owner_id=None, reason="r")
    async with jobs_engine.begin() as conn:
        statement = sa.text("""
            UPDATE jobs.jobs SET state = 'pending', ready = true, run_at = now(), finished_at = NULL, cancel_reason = NULL
            WHERE job_id = :job_id
        """)
        await conn.execute(statement, {"job_id": job.job_id})
    assert not (await jobs.get(job.job_id, owner_id=None)).is_on_hold
    assert (await holds.hold(job.job_id, actor_id=None)).is_on_hold
    await holds.release(job.job_id, actor_id=None)
    await run_maintenance(jobs)
    assert await jobs_helpers.claim(jobs, kind) == [job.job_id]
