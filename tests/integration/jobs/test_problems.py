"""What needs attention, grouped; failed jobs grouped by what went wrong; what workers register about themselves."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from services.jobs import domain, kinds, outcomes
from services.jobs.domain import State
from services.jobs.operations import Operations
from services.jobs.operators import overview
from services.jobs.operators.error_groups import ErrorGroups
from services.jobs.operators.job_filters import JobFilter
from services.jobs.operators.job_search import JobSearch, Order
from services.jobs.operators.overview import REASONS, Overview
from tests.integration.jobs import jobs_helpers


async def fail(
    jobs: Operations, kind: str, *, code: str = "boom", exception: outcomes.ExceptionInfo | None = None
) -> domain.Job:
    """Claim a job and fail it for good."""
    job = await jobs_helpers.claim_one(jobs, kind)
    error = domain.JobError(code=code, message="It broke.")
    return await jobs.finish(
        job.job_id, job.attempt, outcomes.Failed(error=error, retryable=False, exception=exception)
    )


async def test_problems_are_grouped_worst_first(
    jobs: Operations,
    jobs_engine: AsyncEngine,
    submit_job: jobs_helpers.Submit,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(overview, "MAX_PROBLEMS", 100_000)  # other tests leave theirs
    await jobs.register("w", [kinds.Registration(kind=kind)], [])
    for owner in (uuid4(), uuid4(), domain.SYSTEM):
        await submit_job(owner_id=owner)
        await fail(jobs, kind)
    unserved = f"{kind}-unserved"
    for _ in range(2):
        crashed = (await submit_job(kind=unserved)).job_id
    # It is listed once: with its reason, not with its symptom.
    await jobs_helpers.shift(jobs_engine, crashed, f"crashes = {outcomes.SUSPECT_CRASHES}")
    late = (await submit_job()).job_id
    await jobs_helpers.shift(jobs_engine, late, "run_at = now() - interval '1 hour'")
    problems = await Overview(jobs_engine).list_problems()
    by_reason = {(problem.reason, problem.kind): problem for problem in problems if problem.kind.startswith(kind)}
    assert set(by_reason) == {("failing", kind), ("waiting", kind), ("no_worker", unserved)}
    assert (by_reason["failing", kind].count, by_reason["failing", kind].owner_count) == (3, 2)
    assert by_reason["no_worker", unserved].count == 2
    assert by_reason["waiting", kind].age >= timedelta(minutes=59)
    for reason, name in by_reason:
        selected = JobFilter(problem=reason, kinds={name})
        assert (await JobSearch(jobs_engine).count(selected)).count == by_reason[reason, name].count, reason
    assert (await JobSearch(jobs_engine).count(JobFilter(problem="waiting", without_kinds={kind}))).groups == [
        group for group in (await JobSearch(jobs_engine).count(JobFilter(problem="waiting"))).groups if group[0] != kind
    ]
    assert [problem.reason for problem in problems] == sorted((p.reason for p in problems), key=REASONS.index)


async def test_failed_jobs_are_grouped_by_cause(
    jobs: Operations, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    reading = outcomes.ExceptionInfo(type="ValueError", message="row 7", traceback="…", place="imports.py:12 read")
    saving = dataclasses.replace(reading, place="imports.py:40 save")
    failed = []
    for exception in (reading, reading, saving, None):
        await submit_job(owner_id=uuid4())
        failed.append(await fail(jobs, kind, exception=exception))
    await jobs_helpers.shift(jobs_engine, failed[0].job_id, "finished_at = now() - interval '3 hours'")
    groups = {group.place: group for group in await ErrorGroups(jobs_engine).list_all(kind=kind)}
    assert set(groups) == {reading.place, saving.place, ""}
    for each in groups.values():
        selected = JobFilter(kinds={kind}, error_code=each.code, fingerprint=each.fingerprint or "none")
        assert (await JobSearch(jobs_engine).count(selected)).count == each.count, each.place
    group = groups[reading.place]
    assert (group.code, group.exception_type, group.message) == ("boom", "ValueError", "row 7")
    assert (group.count, group.owner_count, group.last_job_id) == (2, 2, failed[1].job_id)
    assert group.last_at - group.first_at > timedelta(hours=2)
    assert (len(group.trend), sum(group.trend), group.trend[-1], group.trend[-4]) == (24, 2, 1, 1)
    assert (groups[""].exception_type, groups[""].message) == ("", "It broke.")
    assert kind in {group.kind for group in await ErrorGroups(jobs_engine).list_all()}

    selected = JobFilter(kinds={kind}, states={State.FAILED}, fingerprint=group.fingerprint)
    page = await JobSearch(jobs_engine).page(selected, order=Order.NEWEST, page_size=9, page_token="")
    assert [row.job.job_id for row in page.rows] == [failed[1].job_id, failed[0].job_id]


async def test_workers_show_their_program_and_jobs(
    jobs: Operations, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    name = f"w-{kind}"
    info = kinds.WorkerInfo(host="h1", version="abc", concurrency=8)
    await jobs.register(name, [kinds.Registration(kind=kind)], [], info)
    await submit_job()
    job = await jobs_helpers.claim_one(jobs, kind, name)
    (worker,) = [worker for worker in await Overview(jobs_engine).list_workers() if worker.worker == name]
    assert (worker.host, worker.version, worker.concurrency, worker.held) == ("h1", "abc", 8, 1)
    assert [job_id for job_id, _, _ in worker.jobs] == [str(job.job_id)]
    await jobs.finish(job.job_id, 1, outcomes.Completed())


@pytest.mark.parametrize("kind_name", ["", "demo.none"])
async def test_groups_of_an_unknown_kind_are_empty(jobs_engine: AsyncEngine, kind_name: str) -> None:
    groups = await ErrorGroups(jobs_engine).list_all(kind=kind_name)
    assert not kind_name or groups == []
