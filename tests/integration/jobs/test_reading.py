"""Reading jobs: pages, histories, access."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import errors, paging, postgres
from chassis.prepared import driver_connection
from services.jobs import domain, list_storage, outcomes, schema, statements
from services.jobs.domain import State
from services.jobs.operations import Operations
from tests.integration.jobs import jobs_helpers


async def test_jobs_of_other_owners_are_not_found(jobs: Operations, submit_job: jobs_helpers.Submit) -> None:
    job = await submit_job()
    stranger = uuid4()
    for call in (
        jobs.get(job.job_id, owner_id=stranger),
        jobs.history(job.job_id, owner_id=stranger),
        jobs.cancel(job.job_id, owner_id=stranger, reason="r"),
        jobs.retry(job.job_id, owner_id=stranger),
    ):
        with pytest.raises(errors.NotFound) as excinfo:
            await call
        assert excinfo.value.code == "job_not_found"


async def test_history_has_attempts_and_transitions(
    jobs: Operations, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    job = await submit_job()
    await jobs_helpers.claim_one(jobs, kind, "first")
    await jobs.finish(job.job_id, 1, jobs_helpers.ERROR)
    await jobs_helpers.come_due(jobs, jobs_engine, job.job_id)
    await jobs_helpers.claim_one(jobs, kind, "second")
    await jobs.finish(job.job_id, 2, outcomes.Completed())
    history = await jobs.history(job.job_id, owner_id=None)
    attempts, transitions = history.attempts, history.transitions
    assert [(a["worker"], a["outcome"]) for a in attempts] == [("first", "failed"), ("second", "completed")]
    assert [t["state"] for t in transitions] == ["pending", "running", "retrying", "running", "completed"]


async def test_history_is_bounded(jobs: Operations, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit) -> None:
    job = await submit_job()
    async with jobs_engine.begin() as conn:
        await conn.execute(
            sa.text("""
                INSERT INTO jobs.attempts (job_id, attempt, worker) SELECT :job_id, n, 'w' FROM generate_series(1, 1100) n
            """),
            {"job_id": job.job_id},
        )
        await conn.execute(
            sa.text("""
                INSERT INTO jobs.job_events (owner_id, sequence, job_id, state, attempt, reason, event)
                SELECT :owner_id, n, :job_id, 'running', 1, 'claimed', '' FROM generate_series(2, 1100) n
            """),
            {"job_id": job.job_id, "owner_id": job.spec.owner_id},
        )
    history = await jobs.history(job.job_id, owner_id=None)
    attempts, transitions = history.attempts, history.transitions
    assert [a["attempt"] for a in attempts] == list(range(101, 1_101))
    assert [t["sequence"] for t in transitions] == list(range(101, 1_101))


async def store_finished(engine: AsyncEngine, owner_id: UUID, kind: str) -> None:
    """Store 20,000 finished jobs of an owner, all children of one parent."""
    async with engine.begin() as conn:
        await conn.execute(
            sa.text("""
                INSERT INTO jobs.jobs (job_id, owner_id, kind, payload, priority, budget, max_attempts, backoff, max_backoff,
                    attempt_timeout, state, run_at, cancel_reason, finished_at, parent_id)
                SELECT gen_random_uuid(), :owner_id, :kind, '{}', 0, 3, 3, '1s', '60s', '600s', 'cancelled', now(), 'r', now(),
                    :parent_id FROM generate_series(1, 20000)
            """),
            {"owner_id": owner_id, "kind": kind, "parent_id": uuid4()},
        )
        await conn.execute(sa.text("ANALYZE jobs.jobs"))


@pytest.fixture
async def many_finished(jobs_engine: AsyncEngine, owner_id: UUID, kind: str) -> AsyncIterator[None]:
    """Finished jobs among those of other tests."""
    await store_finished(jobs_engine, owner_id, kind)
    yield
    async with jobs_engine.begin() as conn:
        await conn.execute(sa.text("DELETE FROM jobs.jobs WHERE kind = :kind"), {"kind": kind})


@pytest.fixture
async def finished_only(
    create_database: Callable[[], Callable[[str], str]], owner_id: UUID, kind: str
) -> AsyncIterator[AsyncEngine]:
    """A database with finished jobs only: the plan of a search depends on the unfinished ones that other tests leave."""
    engine = postgres.engine(create_database()("jobs"), name="test-reading", pool_size=2)
    await store_finished(engine, owner_id, kind)
    yield engine
    await engine.dispose()


async def test_list_of_unfinished_jobs_does_not_read_finished_ones(
    jobs: Operations,
    jobs_engine: AsyncEngine,
    submit_job: jobs_helpers.Submit,
    owner_id: UUID,
    many_finished: None,
) -> None:
    """Every new event stream lists its owner's unfinished jobs."""
    job = await submit_job()
    filters: dict[str, Any] = {
        "owner_id": owner_id,
        "states": set(State) - domain.FINISHED,
        "kinds": [],
        "parent_id": None,
    }
    page = await jobs.lists.page(page_size=100, page_token="", **filters)
    assert [each.job_id for each in page.jobs] == [job.job_id]
    async with jobs_engine.connect() as conn:
        plan = await conn.scalar(explained({**filters, "position": None, "limit": 101}))
    assert "jobs_unfinished" in str(plan)


async def test_search_for_orphans_does_not_read_finished_jobs(finished_only: AsyncEngine) -> None:
    """Each replica searches every ten seconds, however many finished jobs there are."""
    for statement, parameters in ((statements.orphans(of_parent=False), 4), (statements.ORPHANS.owners, 1)):
        query = f"EXPLAIN (ANALYZE) {statement.sql}".encode()
        async with finished_only.connect() as conn:
            lines = await driver_connection(conn).execute_prepared(query, [None] * parameters, commit=True)
        plan = "\n".join(line for (line,) in lines)
        assert "jobs_unfinished" in plan
        assert "Seq Scan on jobs c" not in plan


def explained(filters: dict[str, Any]) -> sa.TextClause:
    """Return the statement that executes a list and returns its plan."""
    statement = list_storage.listed(sa.select(schema.jobs), cast("list_storage.Filters", filters))
    sql = statement.compile(dialect=PGDialect(), compile_kwargs={"literal_binds": True})  # type: ignore[no-untyped-call]
    return sa.text(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}")


async def test_pages_of_jobs_are_newest_first_and_complete(
    jobs: Operations, submit_job: jobs_helpers.Submit, owner_id: UUID
) -> None:
    job_ids = [(await submit_job()).job_id for _ in range(5)]
    listed: list[UUID] = []
    token = ""
    while True:
        page = await jobs.lists.page(
            owner_id=owner_id, states=[], kinds=[], parent_id=None, page_size=2, page_token=token
        )
        listed += [job.job_id for job in page.jobs]
        token = page.next_page_token
        if not token:
            break
        with pytest.raises(errors.InvalidArgument) as excinfo:
            await jobs.lists.page(
                owner_id=owner_id, states=[State.FAILED], kinds=[], parent_id=None, page_size=2, page_token=token
            )
        assert excinfo.value.field == "page_token"
    assert listed == job_ids[::-1]


@pytest.mark.parametrize("oldest_first", [False, True])
async def test_pages_of_jobs_lead_back_and_are_counted(
    jobs: Operations, submit_job: jobs_helpers.Submit, owner_id: UUID, oldest_first: bool
) -> None:
    job_ids = [(await submit_job()).job_id for _ in range(5)]
    expected = job_ids if oldest_first else job_ids[::-1]

    async def page(token: str, max_count: int = 3) -> tuple[list[UUID], str, str]:
        first_page = await jobs.lists.page(
            owner_id=owner_id,
            states=[],
            kinds=[],
            parent_id=None,
            page_size=2,
            page_token=token,
            oldest_first=oldest_first,
            max_count=max_count,
        )
        assert first_page.count == min(max_count, 5)
        return [job.job_id for job in first_page.jobs], first_page.previous_page_token, first_page.next_page_token

    first, no_previous, second_token = await page("")
    second, first_token, third_token = await page(second_token, 10)
    third, second_again, no_next = await page(third_token, 0)
    assert (first + second + third, no_previous, no_next) == (expected, "", "")
    assert await page(second_again) == (second, first_token, third_token)
    assert await page(first_token) == (first, "", second_token)
    # The page before the second one stays the same when another job is submitted.
    await submit_job()
    ahead = await page(first_token)
    assert ahead == ((first, "", second_token) if oldest_first else (first, ahead[1], second_token))


async def test_a_page_names_all_kinds_of_its_owner(
    jobs: Operations, submit_job: jobs_helpers.Submit, owner_id: UUID, kind: str
) -> None:
    await submit_job()
    query: dict[str, Any] = {"owner_id": owner_id, "states": [], "parent_id": None, "page_size": 2, "page_token": ""}
    page = await jobs.lists.page(kinds=["test.another"], include_kinds=True, **query)
    assert (page.jobs, page.kinds) == ([], [kind])
    assert (await jobs.lists.page(kinds=[], **query)).kinds == []
    with pytest.raises(errors.InvalidArgument) as excinfo:
        await jobs.lists.page(kinds=[], include_kinds=True, **{**query, "owner_id": None})
    assert excinfo.value.field == "owner_id"


@pytest.mark.parametrize("position", [["x", "y"], ["2026-01-01", "y"], ["x", str(UUID(int=0))]])
async def test_invalid_position_is_an_invalid_argument(jobs: Operations, owner_id: UUID, position: list[str]) -> None:
    token = paging.token(position, filters=(str(owner_id), [], []))
    with pytest.raises(errors.InvalidArgument) as excinfo:
        await jobs.lists.page(owner_id=owner_id, states=[], kinds=[], parent_id=None, page_size=2, page_token=token)
    assert excinfo.value.field == "page_token"


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
async def test_the_database_refuses_illegal_states(
    jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, change: str
) -> None:
    job = await submit_job()
    with pytest.raises(IntegrityError):
        async with jobs_engine.begin() as conn:
            await conn.execute(sa.text(f"UPDATE jobs.jobs SET {change} WHERE job_id = :id"), {"id": job.job_id})
