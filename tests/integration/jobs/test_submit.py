"""Submits: idempotency, and unique keys."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from chassis import errors, ids
from repruv.jobs.v1 import job_pb2, jobs_service_pb2, kind_pb2
from services.jobs import outcomes
from services.jobs.domain import State
from services.jobs.operations import Operations
from tests.integration.jobs import jobs_helpers
from tests.integration.jobs.jobs_server import JobsApi

TOMORROW = Timestamp(seconds=int((datetime.now(UTC) + timedelta(days=1)).timestamp()), nanos=123_456_000)
EXPLICIT: dict[str, tuple[Any, Any]] = {
    "priority": (5, -5),
    "run_at": (TOMORROW, Timestamp(seconds=TOMORROW.seconds + 1)),
    "max_attempts": (7, 8),
    "backoff": (Duration(nanos=100_001_000), Duration(nanos=100_002_000)),
    "max_backoff": (Duration(seconds=70), Duration(seconds=71)),
    "attempt_timeout": (Duration(seconds=30), Duration(seconds=31)),
    "total_timeout": (Duration(seconds=2_592_000), Duration(seconds=2_591_999, nanos=999_999_000)),
    "unique_key": (uuid4().hex, uuid4().hex),
    "concurrency_key": ("a", "b"),
}
"""Optional fields of a spec, each with two values."""


async def test_the_same_submit_twice_is_one_job(jobs: Operations, spec: jobs_helpers.MakeSpec, owner_id: UUID) -> None:
    job_id = ids.uuid7()
    answers = await asyncio.gather(*(jobs.submit(job_id, spec()) for _ in range(5)))
    assert sorted(created for _, created in answers) == [False] * 4 + [True]
    page = await jobs.lists.page(owner_id=owner_id, states=[], kinds=[], parent_id=None, page_size=10, page_token="")
    assert [job.job_id for job in page.jobs] == [job_id]


async def test_an_id_cannot_be_taken_for_another_job(jobs: Operations, spec: jobs_helpers.MakeSpec) -> None:
    job_id = ids.uuid7()
    await jobs.submit(job_id, spec())
    with pytest.raises(errors.AlreadyExists) as excinfo:
        await jobs.submit(job_id, spec(payload={"n": 2}))
    assert (excinfo.value.code, excinfo.value.field) == ("job_id_taken", "job_id")


async def test_repeated_submit_agrees_in_every_field_that_it_sets(jobs_api: JobsApi, kind: str) -> None:
    optional = {field.name for field in job_pb2.JobSpec.DESCRIPTOR.fields} - {
        "kind",
        "owner_id",
        "payload",
        "parent_id",
        # A repeated submit is another step of the trace.
        "traceparent",
    }
    assert EXPLICIT.keys() == optional
    job_id, owner_id = str(ids.uuid7()), str(uuid4())

    async def submit(**spec: Any) -> jobs_service_pb2.SubmitJobResponse:
        request = jobs_service_pb2.SubmitJobRequest(
            job_id=job_id, spec=job_pb2.JobSpec(kind=kind, owner_id=owner_id, **spec)
        )
        response: jobs_service_pb2.SubmitJobResponse = await jobs_api.call(jobs_api.jobs.SubmitJob, request)
        return response

    first = {name: values[0] for name, values in EXPLICIT.items()}
    assert (await submit(**first)).created
    # Fields that a repeated submit leaves unset do not count, whatever the defaults of the kind have become.
    await jobs_api.register(kind_pb2.KindRegistration(kind=kind, defaults=kind_pb2.KindDefaults(max_attempts=9)))
    for repeated in (first, {}):
        assert not (await submit(**repeated)).created
    for name, (_, other) in EXPLICIT.items():
        with pytest.raises(errors.AlreadyExists, match=f"another {name}") as excinfo:
            await submit(**{**first, name: other})
        assert (excinfo.value.code, excinfo.value.details["differs"]) == ("job_id_taken", name)


async def test_child_that_is_submitted_again_may_have_another_time(jobs_api: JobsApi, kind: str) -> None:
    parent = await jobs_api.submit(kind)
    children = [
        job_pb2.JobSpec(kind=kind, owner_id=parent.spec.owner_id, parent_id=parent.job_id, priority=1, run_at=run_at)
        for run_at in EXPLICIT["run_at"]
    ]
    job_id = str(ids.uuid7())
    answers = [
        await jobs_api.call(jobs_api.jobs.SubmitJob, jobs_service_pb2.SubmitJobRequest(job_id=job_id, spec=child))
        for child in children
    ]
    assert [answer.created for answer in answers] == [True, False]
    assert answers[1].job.spec.run_at == TOMORROW


async def test_unique_key_admits_one_unfinished_job(
    jobs: Operations, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    key = uuid4().hex
    first = await submit_job(unique_key=key)
    with pytest.raises(errors.AlreadyExists) as excinfo:
        await submit_job(unique_key=key)
    assert excinfo.value.code == "unique_key_taken"
    await jobs_helpers.claim_one(jobs, kind)
    await jobs.finish(first.job_id, 1, outcomes.Completed())
    second = await submit_job(unique_key=key)
    assert second.state is State.PENDING
