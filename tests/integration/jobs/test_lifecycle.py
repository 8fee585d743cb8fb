"""The life of a job through the operations, as services and workers live it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import errors, ids, paging
from repruv.jobs.v1 import job_events_pb2
from services.jobs import domain, reconciler, schema
from services.jobs.domain import State
from services.jobs.operations import Operations

Submit = Callable[..., Awaitable[domain.Job]]
ERROR = domain.Failed(error=domain.JobError(code="boom", message="It broke."), retryable=True)


async def claim_one(jobs: Operations, kind: str, worker: str = "w1") -> domain.Job:
    """Claim the only runnable job of a kind."""
    (job,) = await jobs.claim(worker=worker, kinds=[kind], limit=10)
    return job


async def expire(engine: AsyncEngine, job_id: UUID) -> None:
    """Let the lease of a job have expired."""
    async with engine.begin() as conn:
        past = sa.text("UPDATE jobs.jobs SET lease_until = now() - interval '1 second' WHERE job_id = :id")
        await conn.execute(past, {"id": job_id})


async def make_due(engine: AsyncEngine, job_id: UUID) -> None:
    """Let the next attempt of a job be due."""
    async with engine.begin() as conn:
        await conn.execute(sa.text("UPDATE jobs.jobs SET run_at = now() WHERE job_id = :id"), {"id": job_id})
        await conn.execute(
            sa.text("UPDATE jobs.jobs SET ready = true WHERE job_id = :id AND state = 'retrying'"), {"id": job_id}
        )


async def test_a_job_runs_from_submit_to_result(jobs: Operations, submitted: Submit, kind: str) -> None:
    job = await submitted()
    assert job.state is State.PENDING
    running = await claim_one(jobs, kind)
    assert (running.job_id, running.state, running.attempt) == (job.job_id, State.RUNNING, 1)
    done = await jobs.finish(job.job_id, 1, domain.Completed(result={"rows": 3}))
    assert (done.state, done.result) == (State.COMPLETED, {"rows": 3})
    assert done.finished_at is not None
    assert await jobs.claim(worker="w1", kinds=[kind], limit=10) == []


async def test_the_same_submit_twice_is_one_job(
    jobs: Operations, spec: Callable[..., domain.Spec], owner_id: UUID
) -> None:
    job_id = ids.uuid7()
    answers = await asyncio.gather(*(jobs.submit(job_id, spec()) for _ in range(5)))
    assert sorted(created for _, created in answers) == [False] * 4 + [True]
    page = await jobs.list_page(owner_id=owner_id, states=[], kinds=[], parent_id=None, page_size=10, page_token="")
    assert [job.job_id for job in page.jobs] == [job_id]


async def test_an_id_cannot_be_taken_for_another_job(jobs: Operations, spec: Callable[..., domain.Spec]) -> None:
    job_id = ids.uuid7()
    await jobs.submit(job_id, spec())
    with pytest.raises(errors.AlreadyExists) as caught:
        await jobs.submit(job_id, spec(payload={"n": 2}))
    assert (caught.value.code, caught.value.field) == ("job_id_taken", "job_id")


async def test_a_unique_key_admits_one_job_that_has_not_ended(jobs: Operations, submitted: Submit, kind: str) -> None:
    key = uuid4().hex
    first = await submitted(unique_key=key)
    with pytest.raises(errors.AlreadyExists) as caught:
        await submitted(unique_key=key)
    assert caught.value.code == "unique_key_taken"
    await claim_one(jobs, kind)
    await jobs.finish(first.job_id, 1, domain.Completed())
    second = await submitted(unique_key=key)
    assert second.state is State.PENDING


async def test_two_workers_never_get_the_same_job(jobs: Operations, submitted: Submit, kind: str) -> None:
    wanted = {(await submitted()).job_id for _ in range(20)}
    claims = await asyncio.gather(*(jobs.claim(worker=f"w{n}", kinds=[kind], limit=3) for n in range(10)))
    got = [job.job_id for claimed in claims for job in claimed]
    assert len(got) == len(set(got))
    assert set(got) <= wanted


async def test_urgent_jobs_are_claimed_first(jobs: Operations, submitted: Submit, kind: str) -> None:
    later, urgent = await submitted(priority=0), await submitted(priority=5)
    claimed = await jobs.claim(worker="w1", kinds=[kind], limit=1)
    assert [job.job_id for job in claimed] == [urgent.job_id]
    claimed = await jobs.claim(worker="w1", kinds=[kind], limit=1)
    assert [job.job_id for job in claimed] == [later.job_id]


async def test_a_scheduled_job_waits_for_its_time(
    jobs: Operations, jobs_engine: AsyncEngine, submitted: Submit, kind: str
) -> None:
    job = await submitted(run_at=datetime.now(UTC) + timedelta(hours=1))
    await jobs.promote()
    assert (await jobs.get(job.job_id, owner_id=None)).state is State.SCHEDULED
    assert await jobs.claim(worker="w1", kinds=[kind], limit=10) == []
    await make_due(jobs_engine, job.job_id)
    await jobs.promote()
    assert (await jobs.get(job.job_id, owner_id=None)).state is State.PENDING
    assert (await claim_one(jobs, kind)).job_id == job.job_id


async def test_errors_are_retried_until_the_budget_is_used_up(
    jobs: Operations, jobs_engine: AsyncEngine, submitted: Submit, kind: str
) -> None:
    job = await submitted(max_attempts=3)
    for attempt, expected in ((1, State.RETRYING), (2, State.RETRYING), (3, State.FAILED)):
        await claim_one(jobs, kind)
        ended = await jobs.finish(job.job_id, attempt, ERROR)
        assert ended.state is expected
        await make_due(jobs_engine, job.job_id)
    assert ended.error == ERROR.error
    assert await jobs.claim(worker="w1", kinds=[kind], limit=10) == []


async def test_a_final_error_is_not_retried(jobs: Operations, submitted: Submit, kind: str) -> None:
    job = await submitted()
    await claim_one(jobs, kind)
    final = domain.Failed(error=ERROR.error, retryable=False)
    assert (await jobs.finish(job.job_id, 1, final)).state is State.FAILED


async def test_a_zombie_can_neither_finish_nor_report_nor_renew(
    jobs: Operations, jobs_engine: AsyncEngine, submitted: Submit, kind: str
) -> None:
    job = await submitted()
    await claim_one(jobs, kind, "zombie")
    await expire(jobs_engine, job.job_id)
    await jobs.rescue(grace=timedelta())
    await claim_one(jobs, kind, "successor")
    for outcome in (domain.Completed(), ERROR, domain.Cancelled(reason="x"), domain.Released()):
        with pytest.raises(errors.Aborted) as caught:
            await jobs.finish(job.job_id, 1, outcome)
        assert caught.value.code == "lease_lost"
    with pytest.raises(errors.Aborted):
        await jobs.report_progress(job.job_id, 1, domain.Progress(done=9, total=10))
    assert await jobs.heartbeat(worker="zombie", held=[(job.job_id, 1)]) == []
    untouched = await jobs.get(job.job_id, owner_id=None)
    assert (untouched.state, untouched.attempt, untouched.progress) == (State.RUNNING, 2, domain.Progress())
    assert (await jobs.finish(job.job_id, 2, domain.Completed())).state is State.COMPLETED


async def test_another_worker_cannot_renew_a_lease(jobs: Operations, submitted: Submit, kind: str) -> None:
    job = await submitted()
    await claim_one(jobs, kind, "owner")
    assert await jobs.heartbeat(worker="thief", held=[(job.job_id, 1)]) == []
    assert await jobs.heartbeat(worker="owner", held=[(job.job_id, 1)]) == [(job.job_id, 1, State.RUNNING)]


async def test_a_renewed_lease_is_not_rescued(
    jobs: Operations, jobs_engine: AsyncEngine, submitted: Submit, kind: str
) -> None:
    job = await submitted()
    await claim_one(jobs, kind)
    await expire(jobs_engine, job.job_id)
    await jobs.heartbeat(worker="w1", held=[(job.job_id, 1)])
    await jobs.rescue(grace=timedelta())
    assert (await jobs.get(job.job_id, owner_id=None)).state is State.RUNNING


async def test_crashes_do_not_use_up_attempts_but_have_a_limit(
    jobs: Operations, jobs_engine: AsyncEngine, submitted: Submit, kind: str
) -> None:
    job = await submitted(max_attempts=1)
    for crash in range(1, domain.CRASH_LIMIT + 1):
        await claim_one(jobs, kind)
        await expire(jobs_engine, job.job_id)
        await jobs.rescue(grace=timedelta())
        rescued = await jobs.get(job.job_id, owner_id=None)
        assert rescued.crashes == crash
        assert rescued.attempt <= rescued.max_attempts
        assert rescued.state is (State.FAILED if crash == domain.CRASH_LIMIT else State.RETRYING)
    assert rescued.error is not None
    assert rescued.error.code == "worker_crashed"


async def test_a_released_job_is_claimed_again_and_costs_nothing(
    jobs: Operations, submitted: Submit, kind: str
) -> None:
    job = await submitted(max_attempts=1)
    await claim_one(jobs, kind)
    assert (await jobs.finish(job.job_id, 1, domain.Released())).state is State.RETRYING
    again = await claim_one(jobs, kind)
    assert (again.attempt, again.max_attempts) == (2, 2)


async def test_a_finish_told_twice_counts_once(jobs: Operations, submitted: Submit, kind: str) -> None:
    job = await submitted()
    await claim_one(jobs, kind)
    first = await jobs.finish(job.job_id, 1, domain.Completed(result={"a": 1}))
    second = await jobs.finish(job.job_id, 1, domain.Completed(result={"a": 1}))
    assert second == first
    with pytest.raises(errors.Aborted):
        await jobs.finish(job.job_id, 1, ERROR)


async def test_waiting_jobs_are_cancelled_on_the_spot(jobs: Operations, submitted: Submit, kind: str) -> None:
    for job in (await submitted(), await submitted(run_at=datetime.now(UTC) + timedelta(hours=1))):
        cancelled = await jobs.cancel(job.job_id, owner_id=None, reason="requested")
        assert (cancelled.state, cancelled.cancel_reason) == (State.CANCELLED, "requested")
        assert await jobs.cancel(job.job_id, owner_id=None, reason="again") == cancelled
    assert await jobs.claim(worker="w1", kinds=[kind], limit=10) == []


async def test_a_running_job_is_asked_to_stop_by_its_heartbeat(jobs: Operations, submitted: Submit, kind: str) -> None:
    job = await submitted()
    await claim_one(jobs, kind)
    assert (await jobs.cancel(job.job_id, owner_id=None, reason="requested")).state is State.CANCELLING
    assert await jobs.heartbeat(worker="w1", held=[(job.job_id, 1)]) == [(job.job_id, 1, State.CANCELLING)]
    stopped = await jobs.finish(job.job_id, 1, domain.Cancelled(reason="requested"))
    assert stopped.state is State.CANCELLED


async def test_a_handler_that_finishes_before_the_cancel_arrives_wins(
    jobs: Operations, submitted: Submit, kind: str
) -> None:
    job = await submitted()
    await claim_one(jobs, kind)
    await jobs.cancel(job.job_id, owner_id=None, reason="requested")
    assert (await jobs.finish(job.job_id, 1, domain.Completed())).state is State.COMPLETED
    with pytest.raises(errors.FailedPrecondition) as caught:
        await jobs.cancel(job.job_id, owner_id=None, reason="requested")
    assert caught.value.code == "job_already_finished"


async def test_a_cancelling_job_whose_worker_died_is_cancelled(
    jobs: Operations, jobs_engine: AsyncEngine, submitted: Submit, kind: str
) -> None:
    job = await submitted()
    await claim_one(jobs, kind)
    await jobs.cancel(job.job_id, owner_id=None, reason="because")
    await expire(jobs_engine, job.job_id)
    await jobs.rescue(grace=timedelta())
    rescued = await jobs.get(job.job_id, owner_id=None)
    assert (rescued.state, rescued.cancel_reason) == (State.CANCELLED, "because")


async def test_retry_reopens_with_a_fresh_budget_and_new_attempt_numbers(
    jobs: Operations, submitted: Submit, kind: str
) -> None:
    job = await submitted(max_attempts=1)
    await claim_one(jobs, kind)
    await jobs.finish(job.job_id, 1, ERROR)
    reopened = await jobs.retry(job.job_id, owner_id=None)
    assert (reopened.state, reopened.error, reopened.finished_at) == (State.PENDING, None, None)
    again = await claim_one(jobs, kind)
    assert (again.attempt, again.max_attempts) == (2, 2)
    with pytest.raises(errors.FailedPrecondition) as caught:
        await jobs.retry(job.job_id, owner_id=None)
    assert caught.value.code == "job_not_retryable"


async def test_progress_never_falls_within_an_attempt_nor_passes_the_total(
    jobs: Operations, jobs_engine: AsyncEngine, submitted: Submit, kind: str
) -> None:
    job = await submitted()

    async def report(attempt: int, done: int, total: int) -> tuple[int, int]:
        await jobs.report_progress(job.job_id, attempt, domain.Progress(done=done, total=total, message="m"))
        progress = (await jobs.get(job.job_id, owner_id=None)).progress
        return progress.done, progress.total

    await claim_one(jobs, kind)
    assert await report(1, 5, 10) == (5, 10)
    assert await report(1, 3, 10) == (5, 10)
    assert await report(1, 8, 6) == (6, 6)
    await expire(jobs_engine, job.job_id)
    await jobs.rescue(grace=timedelta())
    await claim_one(jobs, kind)
    assert await report(2, 1, 10) == (1, 10)


async def test_every_transition_is_an_event_and_the_owners_sequence_has_no_gaps(
    jobs: Operations, jobs_engine: AsyncEngine, submitted: Submit, kind: str, owner_id: UUID
) -> None:
    made = await asyncio.gather(*(submitted() for _ in range(10)))
    claimed = await jobs.claim(worker="w1", kinds=[kind], limit=6)
    await asyncio.gather(*(jobs.finish(job.job_id, 1, domain.Completed()) for job in claimed))
    waiting = {job.job_id for job in made} - {job.job_id for job in claimed}
    await asyncio.gather(*(jobs.cancel(job_id, owner_id=owner_id, reason="r") for job_id in waiting))
    raw, latest = await jobs.list_events(owner_id, after=0, limit=500)
    events = [job_events_pb2.JobEvent.FromString(event) for event in raw]
    assert [event.sequence for event in events] == list(range(1, 27))
    assert latest == 26
    versions: dict[str, int] = {}
    for event in events:
        assert event.job.version == versions.get(event.job.job_id, 0) + 1
        versions[event.job.job_id] = event.job.version
    async with jobs_engine.connect() as conn:
        messages = sa.select(schema.outbox.c.payload).where(schema.outbox.c.subject == f"jobs.events.{kind}")
        payloads = (await conn.execute(messages)).scalars().all()
    told = [event for payload in payloads for event in job_events_pb2.JobEvents.FromString(payload).events]
    assert sorted(event.sequence for event in told) == list(range(1, 27))


async def test_events_can_be_read_from_any_position_but_not_from_the_future(
    jobs: Operations, submitted: Submit, owner_id: UUID
) -> None:
    for _ in range(3):
        await submitted()
    raw, latest = await jobs.list_events(owner_id, after=2, limit=500)
    assert ([job_events_pb2.JobEvent.FromString(event).sequence for event in raw], latest) == ([3], 3)
    assert await jobs.list_events(owner_id, after=3, limit=500) == ([], 3)
    with pytest.raises(errors.OutOfRange) as caught:
        await jobs.list_events(owner_id, after=4, limit=500)
    assert caught.value.code == "cursor_unknown"


async def test_jobs_of_others_do_not_exist(jobs: Operations, submitted: Submit) -> None:
    job = await submitted()
    stranger = uuid4()
    for call in (
        jobs.get(job.job_id, owner_id=stranger),
        jobs.history(job.job_id, owner_id=stranger),
        jobs.cancel(job.job_id, owner_id=stranger, reason="r"),
        jobs.retry(job.job_id, owner_id=stranger),
    ):
        with pytest.raises(errors.NotFound) as caught:
            await call
        assert caught.value.code == "job_not_found"


async def test_history_tells_attempts_and_transitions(
    jobs: Operations, jobs_engine: AsyncEngine, submitted: Submit, kind: str
) -> None:
    job = await submitted()
    await claim_one(jobs, kind, "first")
    await jobs.finish(job.job_id, 1, ERROR)
    await make_due(jobs_engine, job.job_id)
    await claim_one(jobs, kind, "second")
    await jobs.finish(job.job_id, 2, domain.Completed())
    attempts, transitions = await jobs.history(job.job_id, owner_id=None)
    assert [(a["worker"], a["outcome"]) for a in attempts] == [("first", "failed"), ("second", "completed")]
    assert [t["state"] for t in transitions] == ["pending", "running", "retrying", "running", "completed"]


async def test_pages_of_jobs_are_newest_first_and_complete(jobs: Operations, submitted: Submit, owner_id: UUID) -> None:
    made = [(await submitted()).job_id for _ in range(5)]
    seen: list[UUID] = []
    token = ""
    while True:
        page = await jobs.list_page(
            owner_id=owner_id, states=[], kinds=[], parent_id=None, page_size=2, page_token=token
        )
        seen += [job.job_id for job in page.jobs]
        token = page.next_page_token
        if not token:
            break
        with pytest.raises(errors.InvalidArgument) as caught:
            await jobs.list_page(
                owner_id=owner_id, states=[State.FAILED], kinds=[], parent_id=None, page_size=2, page_token=token
            )
        assert caught.value.field == "page_token"
    assert seen == made[::-1]


@pytest.mark.parametrize(
    "change",
    [
        "state = 'unheard_of'",
        "state = 'completed'",
        "finished_at = now()",
        "lease_until = now()",
        "attempt = max_attempts + 1",
        "cancel_reason = 'x'",
        "result = '{}'",
        "progress_done = 5, progress_total = 4",
    ],
)
async def test_the_database_refuses_illegal_states(jobs_engine: AsyncEngine, submitted: Submit, change: str) -> None:
    job = await submitted()
    with pytest.raises(IntegrityError):
        async with jobs_engine.begin() as conn:
            await conn.execute(sa.text(f"UPDATE jobs.jobs SET {change} WHERE job_id = :id"), {"id": job.job_id})


async def test_rescues_and_claims_of_many_owners_do_not_deadlock(
    jobs: Operations, jobs_engine: AsyncEngine, kind: str
) -> None:
    """Both lock the owners whose sequences they advance: they must do so in one order."""
    owners = [uuid4(), uuid4(), uuid4()]

    async def submit(owner_id: UUID) -> None:
        await jobs.submit(ids.uuid7(), domain.Spec(kind=kind, owner_id=owner_id, payload={}))

    for _ in range(15):
        for owner_id in owners * 2:
            await submit(owner_id)
        held = await jobs.claim(worker="dies", kinds=[kind], limit=3)
        async with jobs_engine.begin() as conn:
            # The owner that sorts last is the first to be judged.
            for age, job in enumerate(sorted(held, key=lambda job: job.spec.owner_id), start=1):
                past = sa.text(
                    "UPDATE jobs.jobs SET lease_until = now() - make_interval(secs => :age) WHERE job_id = :id"
                )
                await conn.execute(past, {"id": job.job_id, "age": age})
        await asyncio.gather(
            jobs.rescue(grace=timedelta()),
            *(jobs.claim(worker="lives", kinds=[kind], limit=3) for _ in range(2)),
            *(submit(owner_id) for owner_id in owners),
        )


@pytest.mark.parametrize("position", [["x", "y"], ["2026-01-01", "y"], ["x", str(UUID(int=0))]])
async def test_a_position_that_makes_no_sense_is_the_clients_mistake(
    jobs: Operations, owner_id: UUID, position: list[str]
) -> None:
    token = paging.token(position, filters=(str(owner_id), [], []))
    with pytest.raises(errors.InvalidArgument) as caught:
        await jobs.list_page(owner_id=owner_id, states=[], kinds=[], parent_id=None, page_size=2, page_token=token)
    assert caught.value.field == "page_token"


async def test_after_a_standstill_the_workers_get_time_to_renew(
    jobs: Operations, jobs_engine: AsyncEngine, submitted: Submit, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    job = await submitted()
    await claim_one(jobs, kind)
    await expire(jobs_engine, job.job_id)

    async def is_rescued() -> bool:
        await loops.rescue()
        return (await jobs.get(job.job_id, owner_id=None)).state is State.RETRYING

    async with jobs_engine.connect() as conn:
        up = await conn.scalar(sa.text("SELECT extract(epoch FROM now() - pg_postmaster_start_time())"))
    lease = min(3.0, float(up or 0) / 2)
    monkeypatch.setattr(jobs, "lease", timedelta(seconds=lease))
    loops = reconciler.Reconciler(jobs, clock=lambda: now)
    assert not await is_rescued(), "it has just started"
    now += 100
    assert not await is_rescued(), "it stood still"
    now += lease / 4
    assert not await is_rescued(), "half a lease has not passed yet"
    now += lease / 2
    assert await is_rescued()
