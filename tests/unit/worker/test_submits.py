"""Concurrent submits share a call. Each has its own result."""

from __future__ import annotations

import asyncio

import pytest

from chassis import errors
from tests.unit.worker.servicer import Fake
from worker import JobsClient, new_job


async def test_submits_share_calls_and_have_separate_errors(fake: Fake, jobs: JobsClient) -> None:
    asked = [jobs.submit("test.kind", {"n": n}) for n in range(100)]
    *stored, refused = await asyncio.gather(
        *asked, jobs.submit("test.kind", {}, unique_key="taken"), return_exceptions=True
    )
    assert len(fake.jobs) == 100
    assert fake.calls.count("SubmitJobs") <= 2
    assert all(getattr(one, "created", False) for one in stored)
    assert isinstance(refused, errors.AlreadyExists)
    assert (refused.code, refused.details) == ("unique_key_taken", {"job_id": "that"})


async def test_many_jobs_are_submitted_in_order(fake: Fake, jobs: JobsClient) -> None:
    new = [new_job("test.kind", {"n": n}, unique_key="taken" if n == 7 else "") for n in range(2_500)]
    results = await jobs.submit_many(new)
    assert fake.calls.count("SubmitJobs") == 3
    assert isinstance(results.pop(7), errors.AlreadyExists)
    del new[7]
    assert [getattr(one, "job_id", "") for one in results] == [one.job_id for one in new]
    assert [getattr(one, "created", None) for one in await jobs.submit_many(new)] == [False] * len(new)


async def test_a_payload_larger_than_a_call_is_refused_before_it_breaks_one(fake: Fake, jobs: JobsClient) -> None:
    with pytest.raises(errors.InvalidArgument) as refused:
        await jobs.submit("test.kind", {"text": "x" * 2_000_000})
    assert refused.value.field == "payload"
    assert not fake.calls
