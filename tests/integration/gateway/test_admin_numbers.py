"""The numbers of the administration: each one is the number of jobs in the list that it links to."""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from typing import LiteralString
from uuid import uuid4

import httpx
import pytest
import sqlalchemy as sa
from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import ids, postgres
from gateway.clients import service
from repruv.jobs.v1 import job_pb2, jobs_service_pb2
from services.jobs.rates.recorder import Recorder
from tests.integration.gateway.html import HTML, open_page
from tests.integration.jobs import jobs_server
from tests.integration.jobs.jobs_server import JobsApi

LINKED_NUMBER = re.compile(r'<a[^>]* href="(/admin/jobs\?[^"]*)"[^>]*>(?:View all |\+ )?([\d,]+)(?: scheduled)?</a>')
LATER = Timestamp(seconds=4_000_000_000)
"""No worker claims a job of this time during a test."""
COUNT = re.compile(r"([\d,]+) jobs? of")
# The running service has not recorded these minutes again since the test deleted them.
ENDED_EARLIER = """
UPDATE jobs.jobs SET finished_at = date_trunc('minute', now()) - interval '3 minutes'
WHERE kind = :kind AND finished_at IS NOT NULL
"""


async def numbers(admin: httpx.AsyncClient, path: str) -> dict[str, int]:
    """Return the numbers of a page by the address of the list that each links to."""
    content = (await admin.get(path, headers=HTML)).text
    return {html.unescape(link): int(text.replace(",", "")) for link, text in LINKED_NUMBER.findall(content)}


async def listed(admin: httpx.AsyncClient, path: str) -> int:
    """Return the number of jobs of a list."""
    text = (await open_page(admin, path)).text
    count = COUNT.search(text)
    return int(count[1].replace(",", "")) if count else 0


async def submit_earlier(jobs_api: JobsApi, kind: str, number: int) -> None:
    """Submit a job whose id says that it was submitted two hours ago."""
    job_id = ids.uuid7_of(datetime.now(UTC) - timedelta(hours=2), f"{kind}-{number}")
    spec = job_pb2.JobSpec(kind=kind, owner_id=str(uuid4()))
    await jobs_api.call(jobs_api.jobs.SubmitJob, jobs_service_pb2.SubmitJobRequest(job_id=str(job_id), spec=spec))


@pytest.fixture
async def engine(database_url: Callable[[str], str]) -> AsyncIterator[AsyncEngine]:
    """Yield an engine on the database of the jobs service."""
    engine = postgres.engine(database_url("jobs"), name="test-admin-numbers")
    yield engine
    await engine.dispose()


async def test_each_number_of_the_administration_is_that_of_its_list(
    admin: httpx.AsyncClient, jobs_api: JobsApi, kind: str, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.jobs.rates.recorder.MAX_KINDS", 100_000)
    for number, outcome in enumerate(({"failed": jobs_server.failed("broken")}, {}, {})):
        await submit_earlier(jobs_api, kind, number)
        (job,) = await jobs_api.claim(kind)
        await jobs_api.finish(job, **outcome)
    (waiting, _) = [await jobs_api.submit(kind) for _ in range(2)]
    await jobs_api.submit(kind, run_at=LATER)
    async with engine.begin() as conn:
        await conn.execute(sa.text(ENDED_EARLIER), {"kind": kind})
        await conn.execute(sa.text("DELETE FROM jobs.kind_rates"))
    await Recorder(engine).record()
    await admin.post(f"/api/v1/admin/kinds/{kind}/pause")
    try:
        of_kind = {}
        for path in ("/admin", "/admin/kinds", "/admin/stuck", "/admin/errors"):
            for link, number in (await numbers(admin, path)).items():
                if kind in link:
                    of_kind[path, link] = number
                    assert number == await listed(admin, link), (path, link)
                elif path == "/admin" and "state=finished" in link:
                    assert number == await listed(admin, link), link
        numbers_of_kind = sorted(number for (path, _), number in of_kind.items() if path == "/admin")
        # A failed job needs attention and is counted twice; then two paused ones, two waiting ones, three that ended.
        assert numbers_of_kind == [1, 1, 2, 2, 3], of_kind
        assert {number for (path, _), number in of_kind.items() if path == "/admin/kinds"} == {1, 2}
        assert f"/jobs/{waiting.job_id}" in (await open_page(admin, f"/admin/jobs?problem=paused&kind={kind}")).links
    finally:
        await admin.post(f"/api/v1/admin/kinds/{kind}/resume")


async def test_overview_shows_what_can_be_read(
    admin: httpx.AsyncClient,
    locked: Callable[[LiteralString], AbstractAsyncContextManager[None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service.Client, "timeout", service.TIMEOUT)
    async with locked("LOCK TABLE jobs.kind_rates IN ACCESS EXCLUSIVE MODE"):
        page = await open_page(admin, "/admin")
    assert "These can’t be loaded right now: rates." in page.text
    assert "Needs attention" in page.text and "Jobs finished" not in page.text


async def test_changes_of_a_kind_name_their_admin(admin: httpx.AsyncClient, kind: str) -> None:
    path = f"/admin/kinds/{kind}"
    await admin.post(f"/api/v1/admin/kinds/{kind}/pause")
    await admin.put(
        f"/api/v1/admin/kinds/{kind}/limits", json={"max_running": 3, "max_running_per_key": 1, "rate_count": 0}
    )
    user = (await admin.get("/api/v1/auth/me")).json()
    details = (await admin.get(f"/api/v1/admin/kinds/{kind}")).json()
    assert details["kind"]["paused_by"] == user["user_id"]
    assert [(change["change"], change["details"]) for change in details["changes"]] == [
        ("limited", "3 at once"),
        ("paused", ""),
    ]
    page = await open_page(admin, path)
    assert f"by {user['email']} ." in page.text or f"by {user['email']}." in page.text
    assert "Limited: 3 at once" in page.text
    await admin.post(f"/api/v1/admin/kinds/{kind}/resume")
    assert (await admin.get(f"/api/v1/admin/kinds/{kind}")).json()["changes"][0]["change"] == "resumed"


async def test_removals_are_not_offered_to_be_cancelled(admin: httpx.AsyncClient, jobs_api: JobsApi) -> None:
    owner = str(uuid4())
    removal = await jobs_api.submit("auth.disconnect", owner, run_at=LATER)
    imported = await jobs_api.submit("legacy.enable", owner, run_at=LATER)
    await admin.post(f"/api/v1/admin/jobs/{imported.job_id}/cancel")
    page = await open_page(admin, f"/admin/jobs?owner={owner}")
    assert f"/jobs/{removal.job_id}" in page.links
    assert not {"/admin/jobs/cancel", "/admin/jobs/retry"} & page.forms.keys()
    page = await open_page(admin, f"/admin/jobs/bulk?owner={owner}&state=active&change=cancel")
    assert "No job can be cancelled" in page.text
    page = await open_page(admin, f"/admin/jobs/bulk?owner={owner}&state=cancelled&change=retry")
    assert "No job can be retried" in page.text
    answer = await admin.post(f"/api/v1/admin/jobs/{removal.job_id}/cancel")
    assert answer.status_code == 202


async def test_job_that_a_newer_one_replaced_is_not_retried(admin: httpx.AsyncClient, jobs_api: JobsApi) -> None:
    owner = str(uuid4())
    jobs = []
    for _ in range(2):
        job = await jobs_api.submit("demo.enable", owner, run_at=LATER)
        await admin.post(f"/api/v1/admin/jobs/{job.job_id}/cancel")
        jobs.append(job)
    replaced, current = jobs
    assert f"/jobs/{replaced.job_id}/retry" not in (await open_page(admin, f"/jobs/{replaced.job_id}")).forms
    assert f"/jobs/{current.job_id}/retry" in (await open_page(admin, f"/jobs/{current.job_id}")).forms
    page = await open_page(admin, f"/admin/jobs?owner={owner}")
    answer = await admin.post("/admin/jobs/retry", data={**page.forms["/admin/jobs/retry"], "job_id": replaced.job_id})
    page = await open_page(admin, answer.headers["location"])
    assert "A newer job has replaced this one" in page.text
