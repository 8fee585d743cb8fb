"""Concurrent submits share a call. Each has its own result."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from chassis import errors
from repruv.jobs.v1 import job_pb2, jobs_service_pb2
from tests.unit.worker.servicer import Fake
from worker import JobsClient, new_job, outbox


async def test_submits_share_calls_and_have_separate_errors(fake: Fake, jobs: JobsClient) -> None:
    submits = [jobs.submit("test.kind", {"n": n}) for n in range(100)]
    *stored, refused = await asyncio.gather(
        *submits, jobs.submit("test.kind", {}, unique_key="taken"), return_exceptions=True
    )
    assert len(fake.jobs) == 100
    assert fake.calls.count("SubmitJobs") <= 2
    assert all(getattr(result, "created", False) for result in stored)
    assert isinstance(refused, errors.AlreadyExists)
    assert (refused.code, refused.details) == ("unique_key_taken", {"job_id": "that"})


async def test_many_jobs_are_submitted_in_order(fake: Fake, jobs: JobsClient) -> None:
    new = [new_job("test.kind", {"n": n}, unique_key="taken" if n == 7 else "") for n in range(2_500)]
    results = await jobs.submit_many(new)
    assert fake.calls.count("SubmitJobs") == 3
    assert isinstance(results.pop(7), errors.AlreadyExists)
    del new[7]
    assert [getattr(result, "job_id", "") for result in results] == [result.job_id for result in new]
    assert [getattr(result, "created", None) for result in await jobs.submit_many(new)] == [False] * len(new)


async def test_a_payload_larger_than_a_call_is_refused_before_it_breaks_one(fake: Fake, jobs: JobsClient) -> None:
    with pytest.raises(errors.InvalidArgument) as excinfo:
        await jobs.submit("test.kind", {"text": "x" * 2_000_000})
    assert excinfo.value.field == "payload"
    assert not fake.calls


class Refusing:
    """A jobs service that refuses each submit with one error."""

    def __init__(self, error: errors.Error) -> None:
        self.error = error

    async def submit_request(self, request: jobs_service_pb2.SubmitJobRequest) -> job_pb2.Job:
        raise self.error


class Submitter(outbox.Submitter):
    """Counts the jobs that can never be accepted."""

    rejected = 0

    async def on_rejected(self, request: jobs_service_pb2.SubmitJobRequest) -> None:
        self.rejected += 1


@pytest.mark.parametrize(
    ("error", "rejected"), [(errors.InvalidArgument(), 1), (errors.PermissionDenied(code="caller_not_allowed"), 0)]
)
async def test_outbox_keeps_a_submit_that_a_wrong_configuration_refuses(error: errors.Error, rejected: int) -> None:
    submitter = Submitter(cast(JobsClient, Refusing(error)))
    message = outbox.submit_message(new_job("test.kind", {}))
    sending: Any = submitter.send(str(message.message_id), message.subject, message.payload)
    results: Any = await asyncio.gather(sending, return_exceptions=True)
    # The outbox sends a message again until `send` returns.
    assert (submitter.rejected, results[0] is None) == (rejected, bool(rejected))
