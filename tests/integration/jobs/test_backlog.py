"""Back-pressure at submit: by the number and the age of an owner's unfinished jobs of a kind."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import errors, ids
from services.jobs import domain, kinds
from services.jobs.backlog import Backlog
from services.jobs.operations import Operations
from services.jobs.operators import kind_controls
from tests.integration.jobs import jobs_helpers

MAX = 5


@pytest.fixture
async def backlog(
    jobs: Operations, jobs_engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Backlog]:
    """The backlog of the service, with a small limit."""
    small = Backlog(jobs_engine, max_jobs=MAX)
    monkeypatch.setattr(jobs, "backlog", small)
    yield small


async def assert_full(jobs: Operations, spec: domain.Spec) -> None:
    with pytest.raises(errors.ResourceExhausted) as excinfo:
        await jobs.submit(ids.uuid7(), spec)
    assert (excinfo.value.code, excinfo.value.details) == ("queue_full", {"retry_after_seconds": "20"})


async def test_owner_with_too_many_jobs_of_a_kind_is_refused_until_some_have_ended(
    jobs: Operations, backlog: Backlog, spec: jobs_helpers.MakeSpec, kind: str
) -> None:
    items = [(ids.uuid7(), spec(concurrency_key="key" if number % 2 else None)) for number in range(MAX)]
    await jobs.submit_many(items)
    await backlog.measure()
    await assert_full(jobs, spec())
    other, other_kind = spec(owner_id=uuid4()), spec(kind=f"{kind}.other")
    mixed = [(ids.uuid7(), each) for each in (other, spec(), other_kind)]
    accepted, refused, accepted_too = await jobs.submit_many([*mixed])
    assert isinstance(refused, errors.ResourceExhausted)
    assert all(isinstance(result, tuple) for result in (accepted, accepted_too))
    assert await jobs.submit(*items[0]) == (await jobs.get(items[0][0], owner_id=None), False), "it is stored already"
    await jobs.cancel(items[0][0], owner_id=None, reason="r")
    await backlog.measure()
    _, is_new = await jobs.submit(ids.uuid7(), spec())
    assert is_new


async def test_owner_whose_job_nobody_claims_for_a_day_is_refused(
    jobs: Operations,
    jobs_engine: AsyncEngine,
    backlog: Backlog,
    spec: jobs_helpers.MakeSpec,
    submit_job: jobs_helpers.Submit,
    kind: str,
) -> None:
    await jobs.kinds.get([kind])  # as every call that submits does first
    job = await submit_job()
    await jobs_helpers.shift(jobs_engine, job.job_id, "run_at = now() - interval '25 hours'")
    await backlog.measure()
    await assert_full(jobs, spec())
    await jobs_helpers.claim_one(jobs, kind)
    await backlog.measure()
    await submit_job()


async def test_old_job_that_workers_pass_over_refuses_no_submits(
    jobs: Operations,
    jobs_engine: AsyncEngine,
    backlog: Backlog,
    spec: jobs_helpers.MakeSpec,
    submit_job: jobs_helpers.Submit,
    kind: str,
) -> None:
    """The database refuses to claim such a job, or more urgent ones come first."""
    await jobs.register("w1", [kinds.Registration(kind=kind)], [])
    old = await submit_job()
    await jobs_helpers.shift(jobs_engine, old.job_id, "run_at = now() - interval '25 hours'")
    await backlog.measure()
    await submit_job()
    await kind_controls.KindControls(jobs).pause(kind)
    await backlog.measure()
    await assert_full(jobs, spec())
