"""Order of claims: by priority, then owners take turns."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import ids
from services.jobs import domain, list_storage, outcomes, reconciler, storage
from services.jobs.claims import fair_ranks
from services.jobs.maintenance import Maintenance
from services.jobs.operations import Operations
from tests.integration.jobs import jobs_helpers


async def submit(jobs: Operations, spec: jobs_helpers.MakeSpec, count: int, **fields: object) -> list[UUID]:
    """Submit many jobs at once; return their ids."""
    job_ids = [ids.uuid7() for _ in range(count)]
    # As every call that submits does first.
    await jobs.kinds.get({spec(**fields).kind})
    await jobs.submit_many([(job_id, spec(**fields)) for job_id in job_ids])
    return job_ids


async def owners(jobs: Operations, kind: str, limit: int) -> list[UUID]:
    """Claim jobs; return their owners."""
    return [job.spec.owner_id for job in await jobs.claim(worker="w1", kinds=[kind], limit=limit)]


@pytest.mark.parametrize("at_once", [True, False])
async def test_one_job_does_not_wait_for_a_thousand_of_another_owner(
    jobs: Operations, spec: jobs_helpers.MakeSpec, owner_id: UUID, kind: str, at_once: bool
) -> None:
    for count in [1_000] if at_once else [1] * 30:
        await submit(jobs, spec, count)
    assert set(await owners(jobs, kind, 5)) == {owner_id}
    await Maintenance(jobs).advance_fair_ranks()
    other = uuid4()
    await submit(jobs, spec, 1, owner_id=other)
    assert other in await owners(jobs, kind, 2)


async def test_owners_take_turns(jobs: Operations, spec: jobs_helpers.MakeSpec, owner_id: UUID, kind: str) -> None:
    others = [uuid4(), uuid4()]
    for owner in (owner_id, *others):
        await submit(jobs, spec, 4, owner_id=owner)
    for _ in range(4):
        assert sorted(await owners(jobs, kind, 3)) == sorted([owner_id, *others])


async def test_place_in_the_queue_is_the_order_of_claims(
    jobs: Operations, spec: jobs_helpers.MakeSpec, owner_id: UUID, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted = await submit(jobs, spec, 5) + await submit(jobs, spec, 2, owner_id=uuid4())
    submitted += await submit(jobs, spec, 1, owner_id=uuid4(), priority=1)

    async def ahead(job_id: UUID) -> int:
        jobs_ahead = (await jobs.history(job_id, owner_id=None)).jobs_ahead
        return -1 if jobs_ahead is None else jobs_ahead

    places = {job_id: await ahead(job_id) for job_id in submitted}
    monkeypatch.setattr(list_storage, "MAX_JOBS_AHEAD", 3)
    assert sorted([await ahead(job_id) for job_id in submitted]) == [0, 1, 2, 3, 3, 3, 3, 3]
    monkeypatch.undo()
    claimed = [job_id for _ in submitted for job_id in await jobs_helpers.claim(jobs, kind, limit=1)]
    assert sorted(submitted, key=places.__getitem__) == claimed
    assert sorted(places.values()) == list(range(8))
    assert await ahead(claimed[-1]) == -1


async def test_earlier_work_is_not_held_against_an_owner(
    jobs: Operations, spec: jobs_helpers.MakeSpec, owner_id: UUID, kind: str
) -> None:
    await submit(jobs, spec, 300)
    for _ in range(3):
        assert len(await owners(jobs, kind, 100)) == 100
        await Maintenance(jobs).advance_fair_ranks()
    other = uuid4()
    await submit(jobs, spec, 2, owner_id=other)
    await submit(jobs, spec, 2)
    assert set(await owners(jobs, kind, 2)) == {owner_id, other}


async def test_job_that_cannot_be_claimed_does_not_hold_the_rank_of_its_kind(
    jobs: Operations, spec: jobs_helpers.MakeSpec, owner_id: UUID, kind: str, poisoned: jobs_helpers.Poison
) -> None:
    (refused,) = await submit(jobs, spec, 1, owner_id=uuid4())
    await submit(jobs, spec, 200)
    async with poisoned(domain.State.RUNNING, refused):
        assert await owners(jobs, kind, 50) == [owner_id] * 50
        await Maintenance(jobs).advance_fair_ranks()
        other = uuid4()
        await submit(jobs, spec, 20, owner_id=other)
        assert (await owners(jobs, kind, 20)).count(owner_id) == 10


async def test_idle_owner_saves_up_no_priority(
    jobs: Operations, spec: jobs_helpers.MakeSpec, owner_id: UUID, kind: str
) -> None:
    other = uuid4()
    await submit(jobs, spec, 1, owner_id=other)
    await submit(jobs, spec, 100)
    await owners(jobs, kind, 60)
    await Maintenance(jobs).advance_fair_ranks()
    await submit(jobs, spec, 10, owner_id=other)
    assert (await owners(jobs, kind, 6)).count(owner_id) == 3


async def test_urgent_jobs_precede_jobs_that_waited_longer(
    jobs: Operations, spec: jobs_helpers.MakeSpec, owner_id: UUID, kind: str
) -> None:
    other = uuid4()
    await submit(jobs, spec, 3, owner_id=other)
    urgent = await submit(jobs, spec, 3, priority=1)
    assert await jobs_helpers.claim(jobs, kind, 3) == urgent


async def test_kinds_take_turns(jobs: Operations, spec: jobs_helpers.MakeSpec, kind: str) -> None:
    other = f"{kind}.other"
    await submit(jobs, spec, 50)
    await jobs_helpers.claim(jobs, kind, 40)
    await submit(jobs, spec, 10, kind=other)
    claimed = await jobs.claim(worker="w1", kinds=[kind, other], limit=10)
    assert sorted(job.spec.kind for job in claimed) == [kind] * 5 + [other] * 5


async def test_retried_job_keeps_its_fair_rank(jobs: Operations, spec: jobs_helpers.MakeSpec, kind: str) -> None:
    first, *_ = await submit(jobs, spec, 20)
    assert await jobs_helpers.claim(jobs, kind, 1) == [first]
    await jobs.finish(first, 1, outcomes.Released())
    assert await jobs_helpers.claim(jobs, kind, 1) == [first]


async def serve(jobs: Operations, kind: str, count: int) -> list[domain.Job]:
    """Claim jobs one at a time, as a worker with one slot; the kind's fair rank follows."""
    claimed = []
    for _ in range(count):
        claimed += await jobs.claim(worker="w1", kinds=[kind], limit=1)
        await Maintenance(jobs).advance_fair_ranks()
    return claimed


async def test_due_jobs_rank_when_they_come_due(
    jobs: Operations, jobs_engine: AsyncEngine, spec: jobs_helpers.MakeSpec, kind: str
) -> None:
    later = datetime.now(UTC) + jobs_helpers.HOUR
    due = [job_id for _ in range(50) for job_id in await submit(jobs, spec, 1, run_at=later)]
    await jobs_helpers.come_due(jobs, jobs_engine, *due)
    other = uuid4()
    await submit(jobs, spec, 1, owner_id=other)
    assert other in await owners(jobs, kind, 2)
    assert len(await owners(jobs, kind, 50)) == 49


async def test_retries_rank_when_their_backoff_is_over(
    jobs: Operations, jobs_engine: AsyncEngine, spec: jobs_helpers.MakeSpec, owner_id: UUID, kind: str
) -> None:
    failing = await submit(jobs, spec, 10, max_attempts=20)
    for job in await serve(jobs, kind, 10):
        await jobs.finish(job.job_id, job.attempt, jobs_helpers.ERROR)
    await jobs_helpers.come_due(jobs, jobs_engine, *failing)
    other = uuid4()
    await submit(jobs, spec, 3, owner_id=other)
    assert (await owners(jobs, kind, 6)).count(other) == 3


async def test_job_that_fails_again_and_again_does_not_delay_others(
    jobs: Operations, jobs_engine: AsyncEngine, spec: jobs_helpers.MakeSpec, kind: str
) -> None:
    (failing,) = await submit(jobs, spec, 1, max_attempts=20)
    other = uuid4()
    await submit(jobs, spec, 3, owner_id=other)
    claimed = []
    for _ in range(6):
        (job,) = await serve(jobs, kind, 1)
        claimed.append(job.spec.owner_id)
        if job.job_id == failing:
            await jobs.finish(job.job_id, job.attempt, jobs_helpers.ERROR)
            await jobs_helpers.come_due(jobs, jobs_engine, failing)
    assert claimed.count(other) == 3


async def test_jobs_of_a_concurrency_key_rank_when_they_get_a_slot(
    jobs: Operations, spec: jobs_helpers.MakeSpec, kind: str
) -> None:
    for _ in range(6):
        await submit(jobs, spec, 1, concurrency_key="key")
    other = uuid4()
    await submit(jobs, spec, 3, owner_id=other)
    claimed = []
    for _ in range(6):
        (job,) = await serve(jobs, kind, 1)
        claimed.append(job.spec.owner_id)
        await jobs.finish(job.job_id, 1, outcomes.Completed())
    assert claimed.count(other) == 3


async def test_reopened_jobs_rank_when_they_are_reopened(
    jobs: Operations, spec: jobs_helpers.MakeSpec, owner_id: UUID, kind: str
) -> None:
    response = await submit(jobs, spec, 3)
    await jobs_helpers.claim(jobs, kind, 3)
    for job_id in response:
        await jobs.finish(job_id, 1, jobs_helpers.FINAL)
    other = uuid4()
    await submit(jobs, spec, 5)
    await submit(jobs, spec, 3, owner_id=other)
    for job_id in response:
        await jobs.retry(job_id, owner_id=owner_id)
    assert (await owners(jobs, kind, 6)).count(other) == 3


async def test_old_snapshot_does_not_stop_submits(
    jobs: Operations, jobs_engine: AsyncEngine, spec: jobs_helpers.MakeSpec, owner_id: UUID, kind: str
) -> None:
    """A backup by pg_dump keeps the index entries of claimed jobs: a submit reads them once, not for each of its jobs."""
    claimed = 2_000
    parameters = {"kind": kind, "owner_id": owner_id, "last": claimed - 1}
    await submit(jobs, spec, 1)
    async with jobs_engine.connect() as snapshot:
        await snapshot.execution_options(isolation_level="REPEATABLE READ")
        await snapshot.execute(sa.text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        await snapshot.execute(sa.text("SELECT count(*) FROM jobs.kinds"))
        async with jobs_engine.begin() as conn:
            await conn.execute(
                sa.text("""
                    INSERT INTO jobs.jobs (job_id, owner_id, kind, payload, priority, budget, max_attempts, backoff,
                        max_backoff, attempt_timeout, state, run_at, ready, fair_rank)
                    SELECT gen_random_uuid(), :owner_id, :kind, '{}', 0, 3, 3, '1s', '60s', '600s', 'pending', now(), true, n
                    FROM generate_series(0, :last) n
                """),
                parameters,
            )
        async with jobs_engine.begin() as conn:
            await conn.execute(
                sa.text("""
                    UPDATE jobs.jobs SET state = 'cancelled', ready = false, cancel_reason = 'r', finished_at = now()
                    WHERE kind = :kind AND owner_id = :owner_id
                """),
                parameters,
            )
        submits = [(ids.uuid7(), spec()) for _ in range(100)]
        assert await entries_read_by(jobs_engine, submits) < 5 * claimed
        async with jobs_engine.begin() as conn:
            await conn.execute(sa.text("UPDATE jobs.kinds SET fair_rank = :last + 1 WHERE kind = :kind"), parameters)
        # A submit reads none of those that the kind's fair rank has passed.
        assert await entries_read_by(jobs_engine, submits) < claimed / 2


async def entries_read_by(engine: AsyncEngine, submits: list[tuple[UUID, domain.Spec]]) -> int:
    """Submit and roll back; return the number of index entries and rows of jobs that this has read, dead ones included."""
    read = sa.text("""
        SELECT CAST(sum(pg_stat_get_xact_tuples_returned(relation)) AS bigint) FROM (
            SELECT indexrelid FROM pg_index WHERE indrelid = CAST('jobs.jobs' AS regclass)
            UNION ALL SELECT CAST('jobs.jobs' AS regclass)) r (relation)
    """)
    async with engine.connect() as conn:
        before = await conn.scalar(read)
        await storage.insert_jobs(conn, submits, None)
        after = await conn.scalar(read)
    return int(after or 0) - int(before or 0)


async def test_fair_rank_of_a_kind_advances_although_its_jobs_are_claimed_at_once(
    jobs: Operations, jobs_engine: AsyncEngine, spec: jobs_helpers.MakeSpec, kind: str
) -> None:
    """Otherwise all jobs would have the same few ranks, and a submit would read the index entries of all claimed ones."""
    loops = reconciler.Reconciler(Maintenance(jobs), is_caught_up=lambda: True)
    for _ in range(3):
        await submit(jobs, spec, fair_ranks.MAX_CLAIMS_AHEAD)
        assert len(await jobs_helpers.claim(jobs, kind)) == fair_ranks.MAX_CLAIMS_AHEAD
        await loops.reconcile()
    async with jobs_engine.connect() as conn:
        rank = await conn.scalar(sa.text("SELECT fair_rank FROM jobs.kinds WHERE kind = :kind"), {"kind": kind})
    assert rank == 3 * fair_ranks.MAX_CLAIMS_AHEAD
