"""Changes of many jobs: what they select, progress, cancel, and resuming after a crash."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

import worker
from chassis import bus, errors, ids, outbox, postgres
from services.jobs import domain, outcomes, schema
from services.jobs.domain import State
from services.jobs.maintenance import Maintenance
from services.jobs.operations import Operations
from services.jobs.operators import bulk
from services.jobs.operators.bulk import Bulk, Change
from services.jobs.operators.holds import Holds
from services.jobs.operators.job_filters import JobFilter
from services.jobs.operators.job_search import JobSearch
from tests.integration.jobs import jobs_helpers


class Cancelled(Exception):
    """Raised by a handler whose job was cancelled."""


class FakeContext:
    """What the handler needs of a context."""

    def __init__(self, job_id: UUID, *, owner_id: UUID, stop_after: int = 1_000) -> None:
        self.job_id = str(job_id)
        self.owner_id = str(owner_id)
        self.saved: Any = None
        self.reports: list[tuple[int, int]] = []
        self.stop_after = stop_after

    async def state(self) -> Any:
        return self.saved

    async def checkpoint(self, state: object) -> None:
        self.saved = state

    async def progress(self, done: int, total: int = 0, message: str = "") -> None:
        self.reports.append((done, total))

    def raise_if_cancelled(self) -> None:
        if len(self.reports) >= self.stop_after:
            raise Cancelled


@pytest.fixture
def changes(jobs: Operations, jobs_engine: AsyncEngine) -> Bulk:
    """Return the changes of many jobs."""
    return Bulk(jobs, Holds(jobs), JobSearch(jobs_engine))


@pytest.fixture
async def failed(jobs: Operations, submit_job: jobs_helpers.Submit, kind: str) -> list[UUID]:
    """Return four failed jobs, the oldest first."""
    job_ids = [(await submit_job()).job_id for _ in range(4)]
    for job in await jobs.claim(worker="w", kinds=[kind], limit=4):
        await jobs.finish(job.job_id, job.attempt, jobs_helpers.FINAL)
    return job_ids


async def start(changes: Bulk, selected: JobFilter, change: Change, owner_id: UUID) -> tuple[FakeContext, bulk.Payload]:
    """Submit a change; return a context of its job, and its payload."""
    job_id = ids.uuid7()
    job = await changes.start(selected, change, per_second=1_000, job_id=job_id, owner_id=owner_id)
    again = await changes.start(selected, change, per_second=1_000, job_id=job_id, owner_id=owner_id)
    assert (job.spec.kind, again.job_id) == (bulk.KIND, job_id)
    payload = job.spec.payload
    return FakeContext(job_id, owner_id=owner_id), bulk.Payload(
        change=Change(payload["change"]), filter=payload["filter"], per_second=payload["per_second"]
    )


async def run(changes: Bulk, context: FakeContext, payload: bulk.Payload) -> dict[str, Any]:
    return await changes.run(context, payload)  # type: ignore[arg-type]


async def test_failed_jobs_are_retried_and_later_ones_left_out(
    jobs: Operations, changes: Bulk, submit_job: jobs_helpers.Submit, failed: list[UUID], kind: str, owner_id: UUID
) -> None:
    selected = JobFilter(kinds={kind}, owner_id=owner_id, error_code="final")
    assert (await changes.count(selected, Change.RETRY)).count == 4
    context, payload = await start(changes, selected, Change.RETRY, owner_id)
    later = await submit_job()
    await jobs.cancel(later.job_id, owner_id=None, reason="r")
    assert await run(changes, context, payload) == {"changed": 4, "skipped": {}}
    assert context.reports == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert {await jobs_helpers.state(jobs, job_id) for job_id in failed} == {State.PENDING}
    assert await jobs_helpers.state(jobs, later.job_id) is State.CANCELLED


async def test_a_stored_filter_has_what_was_asked_for_and_an_unknown_field_changes_nothing(
    jobs: Operations, changes: Bulk, failed: list[UUID], kind: str, owner_id: UUID
) -> None:
    """Every release reads the fields that it knows; to ignore another one would change more jobs than were asked for."""
    context, payload = await start(changes, JobFilter(kinds={kind}), Change.RETRY, owner_id)
    assert payload.filter == {"states": ["failed"], "kinds": [kind]}
    later = dataclasses.replace(payload, filter={**payload.filter, "of_next_release": "x"})
    with pytest.raises(worker.JobFailed) as excinfo:
        await run(changes, context, later)
    assert (excinfo.value.code, excinfo.value.retryable) == ("filter_unknown", True)
    assert {await jobs_helpers.state(jobs, job_id) for job_id in failed} == {State.FAILED}


async def test_a_retry_of_many_jobs_leaves_imported_ones(
    jobs: Operations, changes: Bulk, jobs_engine: AsyncEngine, failed: list[UUID], kind: str, owner_id: UUID
) -> None:
    async with jobs_engine.begin() as conn:
        statement = sa.text("UPDATE jobs.jobs SET kind = 'legacy.' || kind WHERE job_id = ANY(:job_ids)")
        await conn.execute(statement, {"job_ids": failed[:3]})
    selected = JobFilter(kinds={kind, f"legacy.{kind}"}, owner_id=owner_id)
    context, payload = await start(changes, selected, Change.RETRY, owner_id)
    assert await run(changes, context, payload) == {"changed": 1, "skipped": {}}


async def test_a_cancelled_change_leaves_the_rest(
    jobs: Operations, changes: Bulk, failed: list[UUID], kind: str, owner_id: UUID
) -> None:
    context, payload = await start(changes, JobFilter(kinds={kind}), Change.RETRY, owner_id)
    context.stop_after = 2
    with pytest.raises(Cancelled):
        await run(changes, context, payload)
    states = [await jobs_helpers.state(jobs, job_id) for job_id in failed]
    assert states == [State.PENDING, State.PENDING, State.FAILED, State.FAILED]


async def test_a_change_resumes_at_its_checkpoint(
    monkeypatch: pytest.MonkeyPatch, jobs: Operations, changes: Bulk, failed: list[UUID], kind: str, owner_id: UUID
) -> None:
    monkeypatch.setattr(bulk, "BATCH", 1)
    context, payload = await start(changes, JobFilter(kinds={kind}), Change.RETRY, owner_id)
    context.stop_after = 2
    with pytest.raises(Cancelled):
        await run(changes, context, payload)
    # The first job fails again before the next attempt: it is not retried twice.
    (job,) = await jobs.claim(worker="w", kinds=[kind], limit=1)
    await jobs.finish(job.job_id, job.attempt, jobs_helpers.FINAL)
    context.stop_after = 1_000
    assert await run(changes, context, payload) == {"changed": 4, "skipped": {}}
    assert context.reports[-1] == (4, 4)
    assert await jobs_helpers.state(jobs, failed[0]) is State.FAILED


async def test_a_change_that_is_interrupted_counts_each_job_once(
    monkeypatch: pytest.MonkeyPatch, jobs: Operations, changes: Bulk, failed: list[UUID], kind: str, owner_id: UUID
) -> None:
    """A job that was changed refuses the same change: counted again, it would be shown as skipped."""
    context, payload = await start(changes, JobFilter(kinds={kind}), Change.RETRY, owner_id)
    retry = jobs.retry

    async def interrupted(job_id: UUID, *, owner_id: UUID | None) -> Any:
        if job_id == failed[2]:
            raise errors.Unavailable("The database isn't responding. Try again.", code="database_unavailable")
        return await retry(job_id, owner_id=owner_id)

    with monkeypatch.context() as patch, pytest.raises(errors.Unavailable):
        patch.setattr(jobs, "retry", interrupted)
        await run(changes, context, payload)
    assert await run(changes, context, payload) == {"changed": 4, "skipped": {}}


async def test_a_job_that_the_database_refuses_to_change_stops_no_change_of_others(
    changes: Bulk, failed: list[UUID], kind: str, owner_id: UUID, poisoned: jobs_helpers.Poison
) -> None:
    context, payload = await start(changes, JobFilter(kinds={kind}), Change.RETRY, owner_id)
    async with poisoned(State.PENDING, failed[1]):
        assert await run(changes, context, payload) == {"changed": 3, "skipped": {"refused": 1}}


async def test_a_job_that_stays_locked_stops_no_change_of_others(
    jobs_engine: AsyncEngine, quiet_url: str, nats_url: str, failed: list[UUID], kind: str, owner_id: UUID
) -> None:
    engine = postgres.engine(quiet_url, name="test-hurried", lock_seconds=0.05)
    jobs = Operations(engine, outbox.Relay(engine, schema.outbox, {}), bus.Bus(nats_url, name="t"), lease=timedelta(1))
    changes = Bulk(jobs, Holds(jobs), JobSearch(engine))
    context, payload = await start(changes, JobFilter(kinds={kind}), Change.RETRY, owner_id)
    async with jobs_engine.begin() as conn:
        await conn.execute(sa.text("SELECT FROM jobs.jobs WHERE job_id = :id FOR UPDATE"), {"id": failed[1]})
        assert await run(changes, context, payload) == {"changed": 3, "skipped": {"contended": 1}}
    await engine.dispose()


async def test_jobs_that_refuse_are_skipped_and_counted(
    jobs: Operations, changes: Bulk, submit_job: jobs_helpers.Submit, kind: str, owner_id: UUID
) -> None:
    first = await submit_job(unique_key=f"{kind}-1")
    (claimed_job,) = await jobs.claim(worker="w", kinds=[kind], limit=1)
    await jobs.finish(claimed_job.job_id, 1, jobs_helpers.FINAL)
    await submit_job(unique_key=f"{kind}-1")
    context, payload = await start(changes, JobFilter(kinds={kind}), Change.RETRY, owner_id)
    assert await run(changes, context, payload) == {"changed": 0, "skipped": {"unique_key_taken": 1}}
    assert await jobs_helpers.state(jobs, first.job_id) is State.FAILED


async def test_unfinished_jobs_are_cancelled(
    jobs: Operations, changes: Bulk, submit_job: jobs_helpers.Submit, kind: str, owner_id: UUID
) -> None:
    job_ids = [(await submit_job()).job_id for _ in range(3)]
    done, running = await jobs.claim(worker="w", kinds=[kind], limit=2)
    await jobs.finish(done.job_id, 1, outcomes.Completed())
    context, payload = await start(changes, JobFilter(kinds={kind}), Change.CANCEL, owner_id)
    assert await run(changes, context, payload) == {"changed": 2, "skipped": {}}
    states = {job_id: await jobs_helpers.state(jobs, job_id) for job_id in job_ids}
    assert states[done.job_id] is State.COMPLETED
    assert states[running.job_id] is State.CANCELLING
    assert sorted(states.values()) == [State.CANCELLED, State.CANCELLING, State.COMPLETED]


@pytest.mark.parametrize("by_admin", [True, False])
async def test_waiting_jobs_are_put_on_hold_and_those_on_hold_are_released(
    jobs: Operations, changes: Bulk, submit_job: jobs_helpers.Submit, kind: str, owner_id: UUID, by_admin: bool
) -> None:
    admin_id = owner_id if by_admin else domain.SYSTEM
    job_ids = [(await submit_job()).job_id for _ in range(4)]
    await jobs.claim(worker="w", kinds=[kind], limit=1)
    selected = JobFilter(kinds={kind})
    context, payload = await start(changes, selected, Change.HOLD, admin_id)
    later = await submit_job()
    assert await run(changes, context, payload) == {"changed": 3, "skipped": {}}
    assert (await changes.count(selected, Change.HOLD)).count == 1
    on_hold = [job_id for job_id in job_ids if (await jobs.get(job_id, owner_id=None)).is_on_hold]
    assert len(on_hold) == 3
    assert await jobs_helpers.claim(jobs, kind) == [later.job_id]
    assert [each.actor_id for each in (await jobs.history(on_hold[0], owner_id=None)).changes] == [
        owner_id if by_admin else None
    ]
    await submit_job(run_at=datetime.now(UTC) + jobs_helpers.HOUR)
    assert (await changes.count(selected, Change.RELEASE)).count == 3
    context, payload = await start(changes, selected, Change.RELEASE, admin_id)
    assert await run(changes, context, payload) == {"changed": 3, "skipped": {}}
    while await Maintenance(jobs).promote_due():
        pass
    assert sorted(await jobs_helpers.claim(jobs, kind)) == sorted(on_hold)


@pytest.mark.parametrize(
    ("states", "change", "per_second", "field"),
    [
        ({State.COMPLETED}, Change.RETRY, 1, "states"),
        ({State.FAILED}, Change.CANCEL, 1, "states"),
        ({State.RUNNING}, Change.HOLD, 1, "states"),
        ({State.PENDING}, Change.RELEASE, 1, "states"),
        ((), Change.RETRY, 0, "per_second"),
        ((), Change.RETRY, 1_001, "per_second"),
    ],
)
async def test_impossible_changes_are_refused(
    changes: Bulk, owner_id: UUID, states: set[State], change: Change, per_second: int, field: str
) -> None:
    with pytest.raises(errors.InvalidArgument) as excinfo:
        await changes.start(
            JobFilter(states=states), change, per_second=per_second, job_id=ids.uuid7(), owner_id=owner_id
        )
    assert excinfo.value.field == field


async def test_jobs_on_hold_are_not_put_on_hold_again(changes: Bulk) -> None:
    with pytest.raises(errors.InvalidArgument) as excinfo:
        await changes.count(JobFilter(on_hold=True), Change.HOLD)
    assert excinfo.value.field == "on_hold"
