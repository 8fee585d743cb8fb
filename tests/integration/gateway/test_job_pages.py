"""The job pages without JavaScript: the history, and one job in each state."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Awaitable, Callable
from uuid import uuid4

import httpx
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct

from chassis import ids
from dev import subprocesses
from gateway import clients, labels
from gateway.settings import Settings
from repruv.jobs.v1 import job_pb2, jobs_service_pb2, kind_pb2
from tests.integration.gateway.conftest import Account, gateway_serving
from tests.integration.gateway.html import HTML, Page, submit
from tests.integration.jobs import jobs_server
from tests.integration.jobs.jobs_server import JobsApi

HOSTILE = '<img src=x onerror=alert(1)> & "quotes"'
Register = Callable[..., Awaitable[Account]]


@pytest.fixture
def kind() -> str:
    """Register a kind for one test."""
    return f"demo.{uuid4().hex}"


async def probe(account: Account, path: str, status: int = 200) -> Page:
    answer = await account.http.get(path, headers=HTML)
    assert answer.status_code == status, answer.text
    return Page(answer)


async def claimed(jobs_api: JobsApi, kind: str) -> job_pb2.Job:
    (job,) = await jobs_api.claim(kind)
    return job


async def press(account: Account, job: job_pb2.Job, name: str) -> Page:
    """Press a button of a job page; return the page after redirects."""
    path = f"/jobs/{job.job_id}"
    answer = await submit(account.http, await probe(account, path), f"{path}/{name}", origin="")
    assert (answer.status_code, answer.headers["location"]) == (303, path), answer.text
    return await probe(account, path)


def rows(page: Page, jobs: list[job_pb2.Job]) -> list[str]:
    """Return the jobs that a list shows."""
    return [job.job_id for job in jobs if f"/jobs/{job.job_id}" in page.links]


async def test_history_has_pages(account: Account, jobs_api: JobsApi, kind: str) -> None:
    assert "No jobs yet" in (await probe(account, "/jobs")).text
    submitted = [await jobs_api.submit(kind, account.user_id) for _ in range(23)]
    newest = await probe(account, "/jobs")
    assert rows(newest, submitted) == [job.job_id for job in submitted[3:]]
    (older,) = [link for link in newest.links if "page_token=" in link]
    oldest = await probe(account, older)
    assert rows(oldest, submitted) == [job.job_id for job in submitted[:3]]
    assert "/jobs" in oldest.links
    assert "23 jobs" in oldest.text
    (newer,) = [link for link in oldest.links if "page_token=" in link]
    assert rows(await probe(account, newer), submitted) == rows(newest, submitted)
    assert rows(await probe(account, "/jobs?order=oldest"), submitted) == [job.job_id for job in submitted[:20]]
    assert rows(await probe(account, "/jobs?rows=50"), submitted) == [job.job_id for job in submitted]
    for odd in ("rows=1", "rows=x", "rows=2000000000"):
        assert len(rows(await probe(account, f"/jobs?{odd}"), submitted)) == 20


async def test_filters_select_jobs(account: Account, jobs_api: JobsApi, kind: str) -> None:
    other = f"{kind}.other"
    waiting, done = await jobs_api.submit(kind, account.user_id), await jobs_api.submit(other, account.user_id)
    await jobs_api.finish(await claimed(jobs_api, other))
    jobs = [waiting, done]
    texts = {
        query: rows(await probe(account, f"/jobs?{query}"), jobs)
        for query in (
            "",
            "state=active",
            "state=completed",
            f"kind={kind}",
            "state=nonsense",
            "kind=%00",
            "page_token=",
        )
    }
    first, second = waiting.job_id, done.job_id
    assert list(texts.values()) == [
        [first, second],
        [first],
        [second],
        [first],
        [first, second],
        [first, second],
        [first, second],
    ]
    failed = await probe(account, "/jobs?state=failed")
    assert "No matching jobs" in failed.text
    # A type without a job on this page can be chosen too.
    assert labels.kind(other) in failed.text
    lost = await account.http.get("/jobs?state=active&page_token=nonsense", headers=HTML)
    assert (lost.status_code, lost.headers["location"]) == (303, "/jobs?state=active")
    for odd in ("nonsense", "No%20Kind", "demo.", "%C3%A9", "x" * 101):
        page = await account.http.get(f"/jobs?kind={odd}", headers=HTML)
        assert page.status_code == 200
        assert "No matching jobs" in page.text
        lost = await account.http.get(f"/jobs?kind={odd}&page_token=nonsense", headers=HTML)
        assert (lost.status_code, lost.headers["location"]) == (303, f"/jobs?kind={odd[:100].replace('%20', '+')}")


async def test_job_page_shows_state_and_history(account: Account, jobs_api: JobsApi, kind: str) -> None:
    quick = Duration(nanos=1_000_000)
    submitted = await jobs_api.submit(kind, account.user_id, max_attempts=2, backoff=quick, max_backoff=quick)
    path = f"/jobs/{submitted.job_id}"
    assert "Waiting to start" in (await probe(account, path)).text

    running = await claimed(jobs_api, kind)
    await jobs_api.progress(running, 3)
    page = await probe(account, path)
    for words in ("Running", "30%", "3 of 10", "Attempt 1 started", jobs_server.WORKER, submitted.job_id):
        assert words in page.text
    assert f"{path}/retry" not in page.forms

    await jobs_api.finish(running, failed=jobs_server.failed("mailbox_full", retryable=True))
    page = await probe(account, path)
    for words in ("Retrying", "Attempt 1 failed", "It did not work.", "mailbox_full"):
        assert words in page.text

    await jobs_api.finish(await claim_again(jobs_api, kind), failed=jobs_server.failed("mailbox_gone"))
    page = await probe(account, path)
    for words in ("Failed", "mailbox_gone", "Attempt 2 started"):
        assert words in page.text
    assert f"{path}/cancel" not in page.forms

    page = await press(account, submitted, "retry")
    assert "Retry queued: " in page.text
    assert "Retry requested" in page.text
    result = Struct()
    result.update({"interaction_count": 4213, "note": HOSTILE})
    await jobs_api.finish(
        await claimed(jobs_api, kind), completed=jobs_service_pb2.FinishJobRequest.Completed(result=result)
    )
    answer = await account.http.get(path, headers=HTML)
    for words in ("Completed", "Finished in", "4,213", HOSTILE):
        assert words in Page(answer).text
    assert "<img" not in answer.text


async def claim_again(jobs_api: JobsApi, kind: str) -> job_pb2.Job:
    """Claim a job that becomes due in a moment."""
    request = jobs_service_pb2.ClaimJobsRequest(
        worker=jobs_server.WORKER, kinds=[kind], max_jobs=1, wait=Duration(seconds=20)
    )
    (job,) = (await jobs_api.call(jobs_api.jobs.ClaimJobs, request)).jobs
    stored: job_pb2.Job = job
    return stored


async def test_a_change_of_many_jobs_offers_a_retry_to_admins_only(
    account: Account, admin: httpx.AsyncClient, jobs_api: JobsApi
) -> None:
    """Its owner is an admin no longer."""
    spec = job_pb2.JobSpec(kind="jobs.bulk", owner_id=account.user_id)
    spec.run_at.FromSeconds(int(time.time()) + 3_600)
    request = jobs_service_pb2.SubmitJobRequest(job_id=str(ids.uuid7()), spec=spec)
    job = (await jobs_api.call(jobs_api.jobs.SubmitJob, request, service="jobs")).job
    page = await press(account, job, "cancel")
    assert "Cancelled" in page.text
    path = f"/jobs/{job.job_id}"
    assert f"{path}/retry" not in page.forms
    assert f"{path}/retry" in Page(await admin.get(path, headers=HTML)).forms


async def test_a_failed_undo_job_offers_a_retry_until_its_job_is_retried(
    account: Account, jobs_api: JobsApi, kind: str
) -> None:
    undo_kind = f"{kind}.undo"
    await jobs_api.register(
        kind_pb2.KindRegistration(kind=kind, has_undo=True), kind_pb2.KindRegistration(kind=undo_kind)
    )
    job = await jobs_api.submit(kind, account.user_id)
    cancelled = jobs_service_pb2.FinishJobRequest.Cancelled(reason="requested")
    await jobs_api.finish(await claimed(jobs_api, kind), cancelled=cancelled)
    undo = await claimed(jobs_api, undo_kind)
    await jobs_api.finish(undo, failed=jobs_server.failed("not_undone"))
    path = f"/jobs/{undo.job_id}"
    assert f"{path}/retry" in (await probe(account, path)).forms
    await press(account, job, "retry")
    page = await probe(account, path)
    assert f"{path}/retry" not in page.forms
    assert "The job that it undoes was retried or deleted" in page.text


async def test_a_job_is_cancelled_before_it_ends(account: Account, jobs_api: JobsApi, kind: str) -> None:
    job = await jobs_api.submit(kind, account.user_id)
    path = f"/jobs/{job.job_id}"
    page = await press(account, job, "cancel")
    for words in ("Job cancelled: ", "Cancelled before it started"):
        assert words in page.text
    assert f"{path}/cancel" not in page.forms

    job = await jobs_api.submit(kind, account.user_id)
    path = f"/jobs/{job.job_id}"
    before = await probe(account, path)
    await jobs_api.finish(await claimed(jobs_api, kind))
    late = await submit(account.http, before, f"{path}/cancel")
    assert (late.status_code, late.headers["location"]) == (303, path)
    assert "had already finished" in (await probe(account, path)).text
    assert "had already finished" not in (await probe(account, path)).text


async def test_a_running_job_is_asked_to_stop(account: Account, jobs_api: JobsApi, kind: str) -> None:
    job = await jobs_api.submit(kind, account.user_id)
    running = await claimed(jobs_api, kind)
    page = await press(account, job, "cancel")
    assert "Cancellation requested" in page.text
    assert "Cancelling" in page.text
    await jobs_api.finish(running, cancelled=jobs_service_pb2.FinishJobRequest.Cancelled())
    assert "Stopped before it finished" in (await probe(account, f"/jobs/{job.job_id}")).text


async def test_jobs_of_other_users_get_404(register: Register, jobs_api: JobsApi, kind: str) -> None:
    owner, stranger = await register(), await register()
    job = await jobs_api.submit(kind, owner.user_id)
    page = await probe(owner, f"/jobs/{job.job_id}")
    for path in (f"/jobs/{job.job_id}", f"/jobs/{ids.uuid7()}", "/jobs/not-an-id", "/jobs/%00"):
        assert "Page not found" in (await probe(stranger, path, 404)).text
    assert job.job_id not in (await probe(stranger, f"/jobs?kind={kind}")).text
    yours_job = await jobs_api.submit(kind, stranger.user_id)
    token = (await probe(stranger, f"/jobs/{yours_job.job_id}")).forms[f"/jobs/{yours_job.job_id}/cancel"]["form_token"]
    for name in ("cancel", "retry"):
        answer = await stranger.http.post(f"/jobs/{job.job_id}/{name}", data={"form_token": token}, headers=HTML)
        assert answer.status_code == 404
    foreign = await owner.http.post(f"/jobs/{job.job_id}/cancel", data={"form_token": token}, headers=HTML)
    assert (foreign.status_code, "Nothing was changed" in foreign.text) == (403, True)
    assert (await owner.http.post(f"/jobs/{job.job_id}/cancel", headers=HTML)).status_code == 403
    assert "Waiting to start" in page.text
    assert "Waiting to start" in (await probe(owner, f"/jobs/{job.job_id}")).text


async def test_a_group_shows_its_jobs(account: Account, jobs_api: JobsApi, kind: str) -> None:
    parent = await jobs_api.submit(kind, account.user_id)
    child = await jobs_api.submit(f"{kind}.child", account.user_id, parent_id=parent.job_id)
    page = await probe(account, f"/jobs/{parent.job_id}")
    assert "0 of 1 finished" in page.text
    assert f"/jobs/{child.job_id}" in page.links
    assert f"/jobs/{parent.job_id}" in (await probe(account, f"/jobs/{child.job_id}")).links


@pytest.mark.parametrize("path", ["/jobs", "/jobs/{}", "/notifications"])
async def test_fragments_have_the_changing_part(account: Account, jobs_api: JobsApi, kind: str, path: str) -> None:
    job = await jobs_api.submit(kind, account.user_id)
    fragment = await account.http.get(path.format(job.job_id), headers={"X-Fragment": "status"})
    page = Page(fragment)
    assert {"live", "bell"} <= page.attributes.keys()
    assert not {"html", "head", "header", "main"} & page.tags


async def test_job_pages_require_a_session(url: str) -> None:
    async with httpx.AsyncClient(base_url=url, headers=HTML) as nobody:
        for path in ("/jobs", f"/jobs/{ids.uuid7()}", "/notifications", "/admin/jobs"):
            answer = await nobody.get(path)
            assert (answer.status_code, answer.headers["location"]) == (303, f"/login?next={path}")


async def test_job_pages_without_the_jobs_service_show_an_error(
    account: Account, gateway_settings: Callable[[], Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients.Jobs, "timeout", 0.5)
    config = dataclasses.replace(gateway_settings(), jobs_target=f"127.0.0.1:{subprocesses.free_port()}")
    async with gateway_serving(config, probe="/healthz") as lonely:
        cookies = {"session": account.http.cookies["session"]}
        async with httpx.AsyncClient(base_url=lonely, headers=HTML, cookies=cookies, timeout=60.0) as browser:
            for path, words in (("/jobs", "Can’t load your jobs"), ("/notifications", "Can’t load notifications")):
                answer = await browser.get(path)
                assert (answer.status_code, words in Page(answer).text) == (503, True), path
            assert (await browser.get(f"/jobs/{ids.uuid7()}")).status_code == 503
