"""Submits: idempotency, and unique keys."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

import pytest

from chassis import errors, ids
from services.jobs import outcomes
from services.jobs.domain import State
from services.jobs.operations import Operations
from tests.integration.jobs import jobs_helpers


async def test_the_same_submit_twice_is_one_job(jobs: Operations, spec: jobs_helpers.MakeSpec, owner_id: UUID) -> None:
    job_id = ids.uuid7()
    answers = await asyncio.gather(*(jobs.submit(job_id, spec()) for _ in range(5)))
    assert sorted(created for _, created in answers) == [False] * 4 + [True]
    page = await jobs.list_page(owner_id=owner_id, states=[], kinds=[], parent_id=None, page_size=10, page_token="")
    assert [job.job_id for job in page.jobs] == [job_id]


async def test_an_id_cannot_be_taken_for_another_job(jobs: Operations, spec: jobs_helpers.MakeSpec) -> None:
    job_id = ids.uuid7()
    await jobs.submit(job_id, spec())
    with pytest.raises(errors.AlreadyExists) as caught:
        await jobs.submit(job_id, spec(payload={"n": 2}))
    assert (caught.value.code, caught.value.field) == ("job_id_taken", "job_id")


async def test_unique_key_admits_one_unfinished_job(
    jobs: Operations, submitted: jobs_helpers.Submit, kind: str
) -> None:
    key = uuid4().hex
    first = await submitted(unique_key=key)
    with pytest.raises(errors.AlreadyExists) as caught:
        await submitted(unique_key=key)
    assert caught.value.code == "unique_key_taken"
    await jobs_helpers.claim_one(jobs, kind)
    await jobs.finish(first.job_id, 1, outcomes.Completed())
    second = await submitted(unique_key=key)
    assert second.state is State.PENDING
