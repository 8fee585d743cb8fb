"""Kinds: specs get the registered defaults for omitted fields."""

from __future__ import annotations

import asyncio
from datetime import UTC, timedelta
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from google.protobuf.duration_pb2 import Duration
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import errors, ids
from repruv.jobs.v1 import job_pb2, jobs_service_pb2, kind_pb2
from services.jobs import kinds
from services.jobs.operations import Operations
from tests.integration.jobs import jobs_helpers
from tests.integration.jobs.jobs_server import JobsApi


async def submit(jobs_api: JobsApi, kind: str, **spec: Any) -> jobs_service_pb2.SubmitJobResponse:
    """Submit a job; return the whole response."""
    job_spec = job_pb2.JobSpec(kind=kind, owner_id=str(uuid4()), **spec)
    request = jobs_service_pb2.SubmitJobRequest(job_id=str(ids.uuid7()), spec=job_spec)
    response: jobs_service_pb2.SubmitJobResponse = await jobs_api.call(jobs_api.jobs.SubmitJob, request)
    return response


async def test_job_of_a_kind_without_a_worker_is_accepted_and_reported(jobs_api: JobsApi, kind: str) -> None:
    answer = await submit(jobs_api, kind)
    assert (answer.created, answer.has_worker) == (True, False)
    job = answer.job
    assert (job.max_attempts, job.spec.backoff.seconds, job.spec.max_backoff.seconds) == (3, 1, 60)
    assert (job.spec.attempt_timeout.seconds, job.HasField("deadline")) == (600, False)


async def test_omitted_fields_of_a_spec_are_defaults_of_the_kind(jobs_api: JobsApi, kind: str) -> None:
    defaults = kind_pb2.KindDefaults(
        max_attempts=7,
        backoff=Duration(seconds=2),
        max_backoff=Duration(seconds=20),
        attempt_timeout=Duration(seconds=30),
        total_timeout=Duration(seconds=300),
        priority=5,
    )
    await jobs_api.register(kind_pb2.KindRegistration(kind=kind, defaults=defaults, notify_owner=True))
    omitted, explicit = (
        await submit(jobs_api, kind),
        await submit(
            jobs_api,
            kind,
            max_attempts=2,
            backoff=Duration(seconds=3),
            max_backoff=Duration(seconds=4),
            attempt_timeout=Duration(seconds=5),
            total_timeout=Duration(seconds=6),
            priority=-1,
        ),
    )
    assert (omitted.has_worker, explicit.has_worker) == (True, True)

    def settings_of(job: job_pb2.Job) -> tuple[int, ...]:
        spec = job.spec
        durations = (spec.backoff, spec.max_backoff, spec.attempt_timeout, spec.total_timeout)
        return (spec.max_attempts, *(duration.seconds for duration in durations), spec.priority)

    assert settings_of(omitted.job) == (7, 2, 20, 30, 300, 5)
    assert settings_of(explicit.job) == (2, 3, 4, 5, 6, -1)
    assert omitted.job.notify_owner
    assert omitted.job.max_attempts == 7
    assert omitted.job.deadline.ToDatetime(UTC) == omitted.job.create_time.ToDatetime(UTC) + timedelta(seconds=300)


async def test_latest_registration_wins_and_limits_stay(jobs: Operations, kind: str) -> None:
    await jobs_helpers.limit(jobs, kind, max_running=2)
    for attempts in (5, None):
        defaults = {"max_attempts": attempts} if attempts else {}
        await jobs.register("w1", [kinds.Registration(kind=kind, defaults=defaults, has_undo=True)], [])
        registered = (await jobs.kinds.get([kind]))[kind]
        assert registered.defaults.get("max_attempts") == attempts
        assert (registered.is_limited, registered.has_worker, registered.defaults["has_undo"]) == (True, True, True)


async def test_durations_of_a_registration_are_stored_exactly(jobs: Operations, kind: str) -> None:
    defaults = {"backoff": timedelta(microseconds=1), "max_backoff": timedelta(hours=23, microseconds=999_999)}
    await jobs.register("w1", [kinds.Registration(kind=kind, defaults=defaults, retention=timedelta(days=3650))], [])
    stored = (await jobs.kinds.get([kind]))[kind].defaults
    assert {name: stored[name] for name in defaults} == defaults


async def test_registration_counts_at_once_although_the_kind_is_being_read(
    jobs: Operations, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, has_read, go_on = kinds._read, asyncio.Event(), asyncio.Event()

    async def slow(*arguments: Any) -> Any:
        rows = await read(*arguments)
        has_read.set()
        await go_on.wait()
        return rows

    await jobs.kinds.get([kind])
    jobs.kinds.forget()
    monkeypatch.setattr(kinds, "_read", slow)
    reading = asyncio.create_task(jobs.kinds.get([kind]))
    await has_read.wait()
    monkeypatch.setattr(kinds, "_read", read)
    await jobs.register("w1", [kinds.Registration(kind=kind, defaults={"max_attempts": 5})], [])
    go_on.set()
    await reading
    assert (await jobs.kinds.get([kind]))[kind].defaults["max_attempts"] == 5


async def test_kind_has_a_worker_for_two_minutes_after_its_registration(
    jobs: Operations, jobs_engine: AsyncEngine
) -> None:
    ages = {"test.worker-lives": 60, "test.worker-is-gone": 121, "test.no-worker": None}
    async with jobs_engine.begin() as conn:
        insert = (
            "INSERT INTO jobs.kinds (kind, declared_at) VALUES (:kind, now() - CAST(:age AS integer) * interval '1 s')"
        )
        await conn.execute(sa.text(insert), [{"kind": kind, "age": age} for kind, age in ages.items()])
    registered = await jobs.kinds.get(ages)
    assert [registered[kind].has_worker for kind in ages] == [True, False, False]
    assert [registered[kind].is_registered for kind in ages] == [True, True, False]


@pytest.mark.parametrize(
    ("registration", "field"),
    [
        (kind_pb2.KindDefaults(max_attempts=101), "max_attempts"),
        (kind_pb2.KindDefaults(max_attempts=-1), "max_attempts"),
        (kind_pb2.KindDefaults(backoff=Duration(seconds=-1)), "backoff"),
        (kind_pb2.KindDefaults(backoff=Duration(seconds=61)), "max_backoff"),
        (kind_pb2.KindDefaults(attempt_timeout=Duration(seconds=10**12)), "attempt_timeout"),
        (kind_pb2.KindDefaults(total_timeout=Duration()), "total_timeout"),
        (kind_pb2.KindDefaults(priority=-101), "priority"),
    ],
)
async def test_defaults_have_the_bounds_of_their_fields(
    jobs_api: JobsApi, kind: str, registration: kind_pb2.KindDefaults, field: str
) -> None:
    with pytest.raises(errors.InvalidArgument) as excinfo:
        await jobs_api.register(kind_pb2.KindRegistration(kind=kind, defaults=registration))
    assert excinfo.value.field == field
