"""What the jobs service keeps of failed attempts, and who reads it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from repruv.jobs.v1 import job_pb2, jobs_service_pb2
from services.jobs import domain, outcomes
from services.jobs.operations import Operations
from tests.integration.jobs import jobs_helpers
from tests.integration.jobs.jobs_server import JobsApi

EXCEPTION = outcomes.ExceptionInfo(type="KeyError", message="'x'", traceback="Traceback …", place="demo.py:run")


def failure(code: str = "internal", **exception: str) -> outcomes.Failed:
    """Return the outcome of a handler that raised."""
    info = outcomes.ExceptionInfo(**{"type": "KeyError", "place": "demo.py:run", "traceback": "Traceback", **exception})
    return outcomes.Failed(error=domain.JobError(code=code, message="Wrong."), retryable=True, exception=info)


async def attempts(jobs: Operations, job: domain.Job) -> list[Any]:
    """Return the rows of a job's attempts."""
    return list((await jobs.history(job.job_id, owner_id=None)).attempts)


async def test_each_failed_attempt_keeps_its_exception(
    jobs: Operations, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    job = await submit_job()
    await jobs_helpers.claim_one(jobs, kind)
    await jobs.finish(job.job_id, 1, failure(message="first", traceback="one"))
    await jobs_helpers.come_due(jobs, jobs_engine, job.job_id)
    await jobs_helpers.claim_one(jobs, kind)
    await jobs.finish(job.job_id, 2, failure(message="second", traceback="two"))
    exceptions = [(row["exception_message"], row["traceback"], row["place"]) for row in await attempts(jobs, job)]
    assert exceptions == [("first", "one", "demo.py:run"), ("second", "two", "demo.py:run")]


def test_fingerprint_names_kind_code_type_and_place() -> None:
    base = outcomes.fingerprint("demo.x", failure(message="a"))
    assert base == outcomes.fingerprint("demo.x", failure(message="b", traceback="other line"))
    others = [
        outcomes.fingerprint("demo.y", failure()),
        outcomes.fingerprint("demo.x", failure("timeout")),
        outcomes.fingerprint("demo.x", failure(type="ValueError")),
        outcomes.fingerprint("demo.x", failure(place="demo.py:walk")),
        outcomes.fingerprint("demo.x", outcomes.Crashed()),
        outcomes.fingerprint("demo.x", jobs_helpers.ERROR),
    ]
    assert len({base, *others}) == 7
    assert outcomes.fingerprint("demo.x", outcomes.Completed()) is None


async def test_failures_and_crashes_have_fingerprints(
    jobs: Operations, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    job = await submit_job()
    await jobs_helpers.claim_one(jobs, kind)
    await jobs_helpers.crash(jobs, jobs_engine, job.job_id)
    await jobs_helpers.claim_one(jobs, kind)
    await jobs.finish(job.job_id, 2, failure())
    await jobs_helpers.come_due(jobs, jobs_engine, job.job_id)
    await jobs_helpers.claim_one(jobs, kind)
    await jobs.finish(job.job_id, 3, outcomes.Completed())
    expected = [
        outcomes.fingerprint(kind, outcome) for outcome in (outcomes.Crashed(), failure(), outcomes.Completed())
    ]
    assert [row["fingerprint"] for row in await attempts(jobs, job)] == expected


async def test_crashed_attempt_keeps_progress_and_lease_and_the_next_where_it_resumed(
    jobs: Operations, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    job = await submit_job()
    await jobs_helpers.claim_one(jobs, kind)
    await jobs.reports.report_progress(job.job_id, 1, domain.Progress(done=41_200, total=100_000))
    await jobs_helpers.crash(jobs, jobs_engine, job.job_id)
    await jobs_helpers.claim_one(jobs, kind, worker="w2")
    for done in (41_000, 50_000):
        await jobs.reports.report_progress(job.job_id, 2, domain.Progress(done=done, total=100_000))
    await jobs.finish(job.job_id, 2, jobs_helpers.FINAL)
    first, second = await attempts(jobs, job)
    assert (first["progress_done"], first["progress_total"], first["resumed_done"]) == (41_200, 100_000, None)
    assert first["lease_until"] < datetime.now(UTC)
    assert (second["progress_done"], second["resumed_done"], second["lease_until"]) == (50_000, 41_000, None)


async def test_attempt_without_a_report_has_no_progress(
    jobs: Operations, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    job = await submit_job()
    await jobs_helpers.claim_one(jobs, kind)
    await jobs.reports.report_progress(job.job_id, 1, domain.Progress(done=5, total=9))
    await jobs_helpers.crash(jobs, jobs_engine, job.job_id)
    await jobs_helpers.claim_one(jobs, kind)
    await jobs_helpers.crash(jobs, jobs_engine, job.job_id)
    assert [row["progress_done"] for row in await attempts(jobs, job)] == [5, None]


async def test_only_the_newest_attempts_keep_tracebacks(
    jobs: Operations, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    job = await submit_job(max_attempts=100)
    for attempt in range(1, domain.RECORDED_ATTEMPTS + 3):
        await jobs_helpers.claim_one(jobs, kind)
        await jobs.finish(job.job_id, attempt, failure())
        await jobs_helpers.come_due(jobs, jobs_engine, job.job_id)
    with_traceback = [row["attempt"] for row in await attempts(jobs, job) if row["traceback"]]
    assert with_traceback == list(range(3, domain.RECORDED_ATTEMPTS + 3))


async def test_database_refuses_unbounded_texts(jobs_engine: AsyncEngine) -> None:
    async with jobs_engine.connect() as conn:
        query = sa.text(
            "SELECT conname FROM pg_constraint WHERE convalidated AND conname LIKE 'attempts_%' AND contype = 'c'"
        )
        names = set((await conn.execute(query)).scalars())
    assert names >= {"attempts_exception_bounded", "attempts_fingerprint_if_unsuccessful", "attempts_log_bounded"}


async def test_owners_do_not_read_exceptions_and_operators_do(jobs_api: JobsApi) -> None:
    owner, kind = str(uuid4()), f"demo.{uuid4().hex}"
    job = await jobs_api.submit(kind, owner)
    (claimed_job,) = await jobs_api.claim(kind)
    exception = job_pb2.JobException(
        type="KeyError", message="'\0x'" * 5_000, traceback="T\0" * 50_000, place="demo.py:run" * 50
    )
    outcome = jobs_service_pb2.FinishJobRequest.Failed(
        error=job_pb2.JobError(code="internal", message="Something went wrong on our side."), exception=exception
    )
    await jobs_api.finish(claimed_job, failed=outcome)
    request = jobs_service_pb2.GetJobHistoryRequest(job_id=job.job_id)
    readers: tuple[dict[str, str], ...] = ({}, {"user": str(uuid4()), "role": "admin"}, {"user": owner})
    (service, admin, owned) = [
        (await jobs_api.call(jobs_api.jobs.GetJobHistory, request, **reader)).attempts[0] for reader in readers
    ]
    assert service == admin
    assert (service.exception.type, len(service.exception.message.encode())) == ("KeyError", domain.MAX_EXCEPTION_BYTES)
    assert len(service.exception.traceback) == domain.MAX_TRACEBACK_BYTES
    assert len(service.fingerprint) == 16
    assert not owned.HasField("exception")
    assert (owned.fingerprint, owned.error.message) == ("", "Something went wrong on our side.")
