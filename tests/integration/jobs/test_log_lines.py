"""Log lines of attempts in the database: bounded, fenced, kept with the job, and read by operators only."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import errors, ids
from repruv.jobs.v1 import admin_service_pb2, job_pb2, jobs_service_pb2, kind_pb2
from services.jobs import domain, outcomes, retention
from services.jobs.domain import LogLine
from services.jobs.operations import Operations
from tests.integration.jobs import jobs_helpers
from tests.integration.jobs.jobs_server import JobsApi, attempt_of


def line(number: int, text: str = "line") -> LogLine:
    """Return a line."""
    return LogLine(number=number, logged_at=datetime.now(UTC), level="info", logger="demo", text=text)


async def stored(jobs: Operations, job: domain.Job, attempt: int = 0) -> list[tuple[int, int]]:
    """Return attempt and number of the stored lines."""
    page = await jobs.reports.list_log_lines(job.job_id, attempt=attempt, before=None, limit=1_000)
    return [(row["attempt"], row["number"]) for row in page.lines]


@pytest.fixture
async def running(jobs: Operations, submit_job: jobs_helpers.Submit, kind: str) -> domain.Job:
    """Return a job in its first attempt."""
    await submit_job()
    return await jobs_helpers.claim_one(jobs, kind)


async def test_repeated_lines_are_stored_once(jobs: Operations, running: domain.Job) -> None:
    await jobs.reports.report_progress(running.job_id, 1, None, [line(1), line(2)])
    await jobs.reports.report_progress(running.job_id, 1, domain.Progress(done=1), [line(1), line(2), line(3)])
    assert await stored(jobs, running) == [(1, 1), (1, 2), (1, 3)]


@pytest.mark.parametrize("concurrency_key", [None, "key"])
@pytest.mark.parametrize("outcome", [outcomes.Completed, lambda lines: outcomes.Cancelled(reason="no", lines=lines)])
async def test_last_lines_come_with_the_outcome(
    jobs: Operations, submit_job: jobs_helpers.Submit, kind: str, concurrency_key: str | None, outcome: Any
) -> None:
    job = await submit_job(concurrency_key=concurrency_key)
    await jobs_helpers.claim_one(jobs, kind)
    await jobs.reports.report_progress(job.job_id, 1, None, [line(1)])
    await jobs.finish(job.job_id, 1, outcome(lines=(line(1), line(2))))
    assert await stored(jobs, job) == [(1, 1), (1, 2)]


async def test_superseded_attempt_logs_nothing(
    jobs: Operations, jobs_engine: AsyncEngine, running: domain.Job, kind: str
) -> None:
    await jobs_helpers.crash(jobs, jobs_engine, running.job_id)
    await jobs_helpers.claim_one(jobs, kind)
    with pytest.raises(errors.Aborted):
        await jobs.reports.report_progress(running.job_id, 1, None, [line(1)])
    with pytest.raises(errors.Aborted):
        await jobs.finish(running.job_id, 1, outcomes.Completed(lines=(line(1),)))
    assert await stored(jobs, running) == []


async def test_lines_above_the_bounds_are_dropped(jobs: Operations, running: domain.Job) -> None:
    text = "x" * domain.MAX_LINE_BYTES
    await jobs.reports.report_progress(running.job_id, 1, None, [line(number, text) for number in range(1, 51)])
    assert len(await stored(jobs, running)) == domain.MAX_LOG_BYTES // domain.MAX_LINE_BYTES
    await jobs.reports.report_progress(running.job_id, 1, None, [line(domain.MAX_LOG_LINES + 1)])
    (attempt,) = (await jobs.history(running.job_id, owner_id=None)).attempts
    assert (attempt["log_bytes"], attempt["log_lines"]) == (domain.MAX_LOG_BYTES, 32)


async def test_database_enforces_the_bounds(jobs: Operations, jobs_engine: AsyncEngine, running: domain.Job) -> None:
    for change in ("log_lines = 1001", f"log_bytes = {domain.MAX_LOG_BYTES + 1}", f"traceback = repeat('x', {16385})"):
        with pytest.raises(IntegrityError):
            async with jobs_engine.begin() as conn:
                statement = sa.text(f"UPDATE jobs.attempts SET {change} WHERE job_id = :id")
                await conn.execute(statement, {"id": running.job_id})
    for number, size in ((1_001, 1), (1, domain.MAX_LINE_BYTES + 1)):
        with pytest.raises(IntegrityError):
            async with jobs_engine.begin() as conn:
                statement = sa.text(
                    "INSERT INTO jobs.attempt_logs VALUES (:id, 1, :number, now(), 'info', '', repeat('x', :size))"
                )
                await conn.execute(statement, {"id": running.job_id, "number": number, "size": size})


async def test_only_the_newest_attempts_keep_their_lines(
    jobs: Operations, jobs_engine: AsyncEngine, submit_job: jobs_helpers.Submit, kind: str
) -> None:
    job = await submit_job(max_attempts=100)
    for attempt in range(1, domain.RECORDED_ATTEMPTS + 3):
        await jobs_helpers.claim_one(jobs, kind)
        failed = outcomes.Failed(error=jobs_helpers.ERROR.error, retryable=True, lines=(line(1),))
        await jobs.finish(job.job_id, attempt, failed)
        await jobs_helpers.come_due(jobs, jobs_engine, job.job_id)
    assert await stored(jobs, job) == [(attempt, 1) for attempt in range(3, domain.RECORDED_ATTEMPTS + 3)]


async def test_lines_are_deleted_with_the_job(jobs: Operations, jobs_engine: AsyncEngine, running: domain.Job) -> None:
    await jobs.finish(running.job_id, 1, outcomes.Completed(lines=(line(1),)))
    await jobs_helpers.shift(jobs_engine, running.job_id, "finished_at = now() - interval '30 days'")

    async def ignore(_: int) -> None:
        return

    await retention.clean(jobs_engine, ignore, pause_seconds=0.0)
    async with jobs_engine.connect() as conn:
        query = sa.text("SELECT count(*) FROM jobs.attempt_logs WHERE job_id = :id")
        assert (await conn.execute(query, {"id": running.job_id})).scalar() == 0


def lines_request(job: job_pb2.Job, **fields: Any) -> admin_service_pb2.ListLogLinesRequest:
    """Return the request for the lines of a job."""
    return admin_service_pb2.ListLogLinesRequest(job_id=job.job_id, **fields)


async def test_operators_read_pages_of_lines_and_owners_none(jobs_api: JobsApi) -> None:
    owner, kind = str(uuid4()), f"demo.{uuid4().hex}"
    job = await jobs_api.submit(kind, owner)
    (claimed_job,) = await jobs_api.claim(kind)
    lines = [job_pb2.LogLine(number=number, level="odd", text=f"{number}\0") for number in range(1, 6)]
    request = jobs_service_pb2.ReportProgressRequest(attempt=attempt_of(claimed_job), lines=lines)
    await jobs_api.call(jobs_api.jobs.ReportProgress, request)
    admin = {"service": "gateway", "user": str(uuid4()), "role": "admin"}

    newest = await jobs_api.call(jobs_api.admin.ListLogLines, lines_request(job, page_size=3), **admin)
    assert [(each.attempt, each.text, each.level) for each in newest.lines] == [
        (1, text, "info") for text in ("3", "4", "5")
    ]
    token = newest.next_page_token
    older = await jobs_api.call(jobs_api.admin.ListLogLines, lines_request(job, page_token=token), **admin)
    assert ([each.text for each in older.lines], older.next_page_token) == (["1", "2"], "")
    with pytest.raises(errors.InvalidArgument):
        await jobs_api.call(jobs_api.admin.ListLogLines, lines_request(job, attempt=1, page_token=token), **admin)
    with pytest.raises(errors.PermissionDenied):
        await jobs_api.call(jobs_api.admin.ListLogLines, lines_request(job), service="gateway", user=owner)
    with pytest.raises(errors.NotFound):
        await jobs_api.call(jobs_api.admin.ListLogLines, lines_request(job_pb2.Job(job_id=str(uuid4()))), **admin)


async def test_sensitive_fields_of_a_payload_are_masked_for_operators(
    jobs_api: JobsApi, database: Callable[[str], AsyncEngine]
) -> None:
    kind = f"demo.{uuid4().hex}"
    schedule = kind_pb2.ScheduleRegistration(name=f"{kind}.rare", kind=kind, cron="0 0 29 2 *")
    schedule.payload.update({"token": "hunter2"})
    registration = kind_pb2.KindRegistration(kind=kind, sensitive_fields=["token"])
    registration_of_worker = jobs_service_pb2.RegisterKindsRequest(
        worker="w", kinds=[registration], schedules=[schedule]
    )
    await jobs_api.call(jobs_api.jobs.RegisterKinds, registration_of_worker)
    owner = str(uuid4())
    job = await jobs_api.submit(
        kind, owner, payload={"token": "hunter2", "name": "mia", "payload": {"token": "hunter3"}}
    )
    request = jobs_service_pb2.GetJobRequest(job_id=job.job_id)
    readers: tuple[dict[str, str], ...] = (
        {"service": "gateway", "user": str(uuid4()), "role": "admin"},
        {"service": "jobs"},
    )
    for reader in readers:
        payload = (await jobs_api.call(jobs_api.jobs.GetJob, request, **reader)).job.spec.payload
        assert (payload["token"], payload["name"], payload["payload"]["token"]) == ("•••", "mia", "•••")
        listed = jobs_service_pb2.ListJobsRequest(owner_id=owner)
        assert "hunter" not in str(await jobs_api.call(jobs_api.jobs.ListJobs, listed, **reader))
    # The longest stuck job of all tests.
    await jobs_helpers.shift(database("jobs"), UUID(job.job_id), "run_at = '2001-01-01'")
    ids_of: dict[str, dict[str, str]] = {"TriggerSchedule": {"job_id": str(ids.uuid7())}}
    of_schedule = ("GetSchedule", "PauseSchedule", "ResumeSchedule", "TriggerSchedule")
    for rpc in ("ListStuckJobs", "ListSchedules", *of_schedule):
        fields = {"name": schedule.name, **ids_of.get(rpc, {})} if rpc in of_schedule else {}
        calls = (getattr(jobs_api.admin, rpc), getattr(admin_service_pb2, f"{rpc}Request")(**fields))
        answer = str(await jobs_api.call(*calls, **readers[0]))
        assert kind in answer, rpc
        assert "hunter" not in answer, rpc
    (claimed_job,) = await jobs_api.claim(kind)
    assert claimed_job.spec.payload["token"] == "hunter2"


async def test_steps_have_names_and_durations_and_small_values_for_operators(jobs_api: JobsApi) -> None:
    owner, kind = str(uuid4()), f"demo.{uuid4().hex}"
    await jobs_api.submit(kind, owner)
    (claimed_job,) = await jobs_api.claim(kind)
    for name, text in (("fetch", "x" * 200), ("@state", "41")):
        request = jobs_service_pb2.SaveCheckpointRequest(attempt=attempt_of(claimed_job), name=name)
        request.value.string_value = text
        if name == "fetch":
            request.duration.FromMilliseconds(250)
        await jobs_api.call(jobs_api.jobs.SaveCheckpoint, request)
    history = jobs_service_pb2.GetJobHistoryRequest(job_id=claimed_job.job_id)
    checkpoints = (await jobs_api.call(jobs_api.jobs.GetJobHistory, history)).checkpoints
    assert [(each.name, each.attempt, each.duration.ToMilliseconds(), each.value) for each in checkpoints] == [
        ("fetch", 1, 250, ""),
        ("@state", 1, 0, '"41"'),
    ]
    owned = await jobs_api.call(jobs_api.jobs.GetJobHistory, history, user=owner)
    assert [each.value for each in owned.checkpoints] == ["", ""]
