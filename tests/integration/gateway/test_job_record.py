"""What a job leaves behind: its page, API and stream, for the owner and for operators."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from uuid import uuid4

import httpx
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct

from repruv.jobs.v1 import job_pb2, jobs_service_pb2, kind_pb2
from tests.integration.gateway.conftest import Account
from tests.integration.gateway.html import HTML, Page
from tests.integration.gateway.streaming import Event, opened
from tests.integration.jobs.jobs_server import JobsApi, attempt_of

Register = Callable[..., Awaitable[Account]]
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
async def kind(jobs_api: JobsApi) -> str:
    """Register a kind with a sensitive field."""
    name = f"demo.{uuid4().hex}"
    await jobs_api.register(kind_pb2.KindRegistration(kind=name, sensitive_fields=["token"]))
    return name


async def log(jobs_api: JobsApi, job: job_pb2.Job, *texts: str, first: int = 1) -> None:
    """Store log lines of a claimed job."""
    lines = [job_pb2.LogLine(number=first + index, level="info", text=text) for index, text in enumerate(texts)]
    request = jobs_service_pb2.ReportProgressRequest(attempt=attempt_of(job), lines=lines)
    await jobs_api.call(jobs_api.jobs.ReportProgress, request)


async def fail(jobs_api: JobsApi, job: job_pb2.Job, *, retryable: bool = False) -> None:
    """Fail a claimed job by an exception."""
    exception = job_pb2.JobException(
        type="KeyError", message=f"'x' {HOSTILE}", traceback="Traceback …", place="demo.py:run"
    )
    error = job_pb2.JobError(code="internal", message="Something went wrong on our side.")
    outcome = jobs_service_pb2.FinishJobRequest.Failed(error=error, exception=exception, retryable=retryable)
    await jobs_api.finish(job, failed=outcome)


async def failed_job(jobs_api: JobsApi, account: Account, kind: str) -> job_pb2.Job:
    """Return a job that has logged a line and failed."""
    payload = Struct()
    payload.update({"token": "hunter2", "shop": "Blue Door"})
    job = await jobs_api.submit(kind, account.user_id, payload=payload)
    (claimed_job,) = await jobs_api.claim(kind)
    await log(jobs_api, claimed_job, f"reading rows {HOSTILE}")
    await fail(jobs_api, claimed_job)
    return job


async def page_of(http: httpx.AsyncClient, job: job_pb2.Job, query: str = "") -> tuple[Page, str]:
    """Return a job's page, and its source."""
    answer = await http.get(f"/jobs/{job.job_id}{query}", headers=HTML)
    assert answer.status_code == 200, answer.text
    return Page(answer), answer.text


async def test_operator_reads_why_a_job_failed_and_its_owner_a_safe_message(
    account: Account, admin: httpx.AsyncClient, jobs_api: JobsApi, kind: str
) -> None:
    job = await failed_job(jobs_api, account, kind)
    page, source = await page_of(admin, job)
    for words in ("KeyError", "Traceback …", "demo.py:run", "reading rows", "Blue Door", "•••", account.email):
        assert words in page.text
    assert "hunter2" not in source
    assert HOSTILE not in source
    owned, source = await page_of(account.http, job)
    for words in ("Something went wrong on our side.", job.job_id, "internal"):
        assert words in owned.text
    for words in ("KeyError", "Traceback", "demo.py", "reading rows", "Blue Door", "hunter2", "admin/jobs"):
        assert words not in source


async def test_api_gives_the_record_to_admins_only(
    account: Account, admin: httpx.AsyncClient, jobs_api: JobsApi, kind: str
) -> None:
    job = await failed_job(jobs_api, account, kind)
    path = f"/api/v1/admin/jobs/{job.job_id}"
    record = (await admin.get(f"{path}/record")).json()
    (attempt,) = record["attempts"]
    assert (attempt["exception"]["type"], attempt["exception"]["traceback"]) == ("KeyError", "Traceback …")
    assert (len(attempt["fingerprint"]), attempt["log_line_count"]) == (16, 1)
    assert record["payload"] == {"token": "•••", "shop": "Blue Door"}
    lines = (await admin.get(f"{path}/log", params={"attempt": 1})).json()
    assert [line["text"] for line in lines["lines"]] == [f"reading rows {HOSTILE}"]
    for name in ("record", "log", "events"):
        assert (await account.http.get(f"{path}/{name}", headers={"Accept": "*/*"})).status_code == 403
    history = (await account.http.get(f"/api/v1/jobs/{job.job_id}/history")).json()
    assert "exception" not in history["attempts"][0]


async def test_older_lines_are_on_their_own_page(
    account: Account, admin: httpx.AsyncClient, jobs_api: JobsApi, kind: str
) -> None:
    job = await jobs_api.submit(kind, account.user_id)
    (claimed_job,) = await jobs_api.claim(kind)
    await log(jobs_api, claimed_job, *(f"line {number:03}." for number in range(1, 251)))
    page, _ = await page_of(admin, job)
    assert "line 250." in page.text
    assert "line 001." not in page.text
    (older,) = [link for link in page.links if link.startswith("?log=")]
    page, _ = await page_of(admin, job, older.removesuffix("#log"))
    assert "line 001." in page.text
    assert "line 250." not in page.text
    page, _ = await page_of(admin, job, "?log=nonsense")
    assert "line 250." in page.text


async def test_page_shows_where_a_killed_attempt_stopped_and_the_next_resumed(
    account: Account, jobs_api: JobsApi, kind: str
) -> None:
    short = Duration(nanos=1_000_000)
    await jobs_api.submit(kind, account.user_id, backoff=short, max_backoff=short)
    (claimed_job,) = await jobs_api.claim(kind)
    await jobs_api.progress(claimed_job, 41_200, 100_000)
    await fail(jobs_api, claimed_job, retryable=True)
    request = jobs_service_pb2.ClaimJobsRequest(
        worker="demo-other-1", kinds=[kind], max_jobs=1, wait=Duration(seconds=20)
    )
    (again,) = (await jobs_api.call(jobs_api.jobs.ClaimJobs, request)).jobs
    await jobs_api.progress(again, 41_000, 100_000)
    page, _ = await page_of(account.http, again)
    assert "Stopped at 41,200 of 100,000 → resumed at 41,000 by another worker" in page.text
    assert "demo-other-1" in page.text


async def test_stream_of_an_operator_has_another_users_job_its_lines_and_its_retry(
    account: Account, admin: httpx.AsyncClient, jobs_api: JobsApi, kind: str
) -> None:
    other = await jobs_api.submit(kind, account.user_id)
    job = await jobs_api.submit(kind, account.user_id)
    by_id = {claimed.job_id: claimed for claimed in await jobs_api.claim(kind, limit=2)}
    claimed = by_id[job.job_id]

    def is_log(event: Event) -> bool:
        return event.name == "log"

    def has(status: str) -> Callable[[Event], bool]:
        return lambda event: event.name == "job" and event.data["status"] == status

    async with opened(admin, f"/api/v1/admin/jobs/{job.job_id}/events") as stream:
        await stream.until(has("running"))
        await log(jobs_api, by_id[other.job_id], "of another job")
        await log(jobs_api, claimed, "one", "two")
        event = (await stream.until(is_log))[-1]
        assert event.data == {"job_id": job.job_id, "attempt": 1, "line_count": 2}
        await fail(jobs_api, claimed)
        await stream.until(has("failed"))
        # It goes on: the owner may retry.
        await account.http.post(f"/api/v1/jobs/{job.job_id}/retry")
        events = await stream.until(has("pending"))
        assert {event.data["job_id"] for event in events if event.name == "job"} == {job.job_id}


async def test_streams_of_owners_announce_no_lines(account: Account, jobs_api: JobsApi, kind: str) -> None:
    job = await jobs_api.submit(kind, account.user_id)
    (claimed_job,) = await jobs_api.claim(kind)
    async with (
        opened(account.http) as everything,
        opened(account.http, f"/api/v1/jobs/{job.job_id}/events") as job_stream,
    ):
        for stream in (everything, job_stream):
            await stream.until(lambda event: event.name == "job" and event.data["status"] == "running")
        await log(jobs_api, claimed_job, "secret")
        await jobs_api.finish(claimed_job)
        for stream in (everything, job_stream):
            events = await stream.until(lambda event: event.name == "job" and event.data["status"] == "completed")
            assert not [event for event in events if event.name == "log"]


async def test_job_that_waits_for_a_paused_kind_says_so(
    account: Account, admin: httpx.AsyncClient, jobs_api: JobsApi, kind: str
) -> None:
    assert (await admin.post(f"/api/v1/admin/kinds/{kind}/pause")).status_code == 200
    job = await jobs_api.submit(kind, account.user_id)
    page, _ = await page_of(account.http, job)
    assert "Jobs of this type are paused" in page.text
    await admin.post(f"/api/v1/admin/kinds/{kind}/resume")
    later = await jobs_api.submit(kind, account.user_id)
    page, _ = await page_of(account.http, later)
    assert "1 job is ahead of this one." in page.text
    await jobs_api.claim(kind)
    page, _ = await page_of(account.http, later)
    assert "This job is next." in page.text
    unserved = await jobs_api.submit(f"{kind}.other", account.user_id)
    page, _ = await page_of(account.http, unserved)
    assert "Nothing runs jobs of this type at the moment" in page.text


async def test_retry_is_not_offered_after_a_newer_change(account: Account, jobs_api: JobsApi) -> None:
    job = await jobs_api.submit("demo.enable", account.user_id)
    await account.http.post(f"/api/v1/jobs/{job.job_id}/cancel")
    page, _ = await page_of(account.http, job)
    assert f"/jobs/{job.job_id}/retry" not in page.forms


async def test_removal_offers_no_cancel(account: Account, jobs_api: JobsApi) -> None:
    job = await jobs_api.submit("demo.disable", account.user_id, run_at={"seconds": 4_000_000_000})
    page, _ = await page_of(account.http, job)
    assert f"/jobs/{job.job_id}/cancel" not in page.forms
