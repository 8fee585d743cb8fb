"""Exports through the API, the stream, and the page without JavaScript."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, LiteralString

import httpx
import pytest

from gateway import downloads
from tests.integration.gateway.conftest import Account
from tests.integration.gateway.html import Page, submit
from tests.integration.gateway.streaming import opened

API = "/api/v1/exports"
PATH = "/settings/exports"
Locked = Callable[[LiteralString], AbstractAsyncContextManager[None]]
Hold = Callable[[], AbstractAsyncContextManager[None]]


@pytest.fixture
def chunks_held(locked: Locked) -> Hold:
    """Return a context in which no rows are read, so no chunk is written."""
    return lambda: locked("LOCK TABLE demo.interactions IN ACCESS EXCLUSIVE MODE")


async def until(account: Account, path: str, field: str, value: str) -> dict[str, Any]:
    async with asyncio.timeout(60):
        while True:
            response = await account.http.get(path)
            if response.status_code == 200 and response.json()[field] == value:
                body: dict[str, Any] = response.json()
                return body
            await asyncio.sleep(0.05)


async def enable(account: Account, interactions: int = 40) -> None:
    options = {"content_count": 5, "interaction_count": interactions}
    assert (await account.http.post("/api/v1/demo/enable", json=options)).status_code == 202
    await until(account, "/api/v1/demo/status", "status", "enabled")


async def export(account: Account) -> None:
    await enable(account)
    await account.http.post(API)
    await until(account, API, "status", "ready")


async def page(account: Account) -> Page:
    response = await account.http.get(PATH, headers={"Accept": "text/html"})
    assert response.status_code == 200, response.text
    return Page(response)


async def page_with(account: Account, text: str) -> Page:
    async with asyncio.timeout(60):
        while text not in (export_page := await page(account)).text:
            await asyncio.sleep(0.05)
    return export_page


def rows(file: httpx.Response) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(file.text, newline="")))


async def test_export_by_the_api(account: Account) -> None:
    response = await account.http.post(API)
    assert (response.status_code, response.json()["code"]) == (409, "demo_not_enabled")
    missing = await account.http.get(f"{API}/file")
    assert (missing.status_code, missing.json()["code"]) == (404, "export_not_found")
    assert (await account.http.get(API)).json()["status"] == "none"
    await enable(account, 2_345)
    accepted = await account.http.post(API, headers={"Idempotency-Key": "k"})
    assert (accepted.status_code, accepted.json()["status"]) == (202, "exporting")
    assert accepted.headers["location"] == f"/api/v1/jobs/{accepted.json()['job_id']}"
    ready = await until(account, API, "status", "ready")
    assert (ready["rows"], ready["rows_written"], ready["job_id"]) == (2_345, 2_345, accepted.json()["job_id"])
    job = await until(account, accepted.headers["location"], "status", "completed")
    assert (job["kind"], job["progress"]["percent"]) == ("demo.export", 100)
    file = await account.http.get(f"{API}/file")
    assert file.headers["content-type"] == "text/csv; charset=utf-8"
    assert file.headers["content-disposition"].startswith('attachment; filename="repruv-reviews-')
    assert len(file.content) == ready["bytes"]
    assert len(rows(file)) == 2_345
    again = await account.http.post(API, headers={"Idempotency-Key": "k"})
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json()["job_id"] == accepted.json()["job_id"]


async def test_the_file_is_of_its_owner_only(account: Account, register: Callable[[], Awaitable[Account]]) -> None:
    await export(account)
    other = await register()
    assert (await other.http.get(f"{API}/file")).status_code == 404
    assert (await other.http.get(API)).json()["status"] == "none"
    async with httpx.AsyncClient(base_url=account.http.base_url) as nobody:
        assert (await nobody.get(f"{API}/file")).status_code == 401


async def test_user_downloads_two_files_at_once(account: Account, locked: Locked) -> None:
    await export(account)
    async with locked("LOCK TABLE demo.export_chunks IN ACCESS EXCLUSIVE MODE"):
        answers = asyncio.as_completed([asyncio.ensure_future(account.http.get(f"{API}/file")) for _ in range(3)])
        async with asyncio.timeout(30):
            refused = await next(answers)
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_calls")
    assert refused.headers["retry-after"] == "1"
    for answer in answers:
        assert len(rows(await answer)) == 40
    assert len(rows(await account.http.get(f"{API}/file"))) == 40


async def test_downloads_of_a_gateway_are_bounded(
    account: Account, locked: Locked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "MAX_DOWNLOADS", 1)
    await export(account)
    async with locked("LOCK TABLE demo.export_chunks IN ACCESS EXCLUSIVE MODE"):
        answers = asyncio.as_completed([asyncio.ensure_future(account.http.get(f"{API}/file")) for _ in range(2)])
        async with asyncio.timeout(30):
            refused = await next(answers)
    assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
    assert int(refused.headers["retry-after"]) > 0
    assert len(rows(await next(answers))) == 40


async def test_the_stream_has_each_transition(account: Account) -> None:
    await enable(account)
    async with opened(account.http) as stream:
        await account.http.post(API)
        events = await stream.until(lambda event: event.name == "export" and event.data["status"] == "ready")
    statuses = [event.data["status"] for event in events if event.name == "export"]
    assert statuses[-1] == "ready"
    assert set(statuses) <= {"exporting", "ready"}
    assert events[-1].data == (await account.http.get(API)).json()
    # Demo mode has events of its own only.
    assert all(event.data["status"] == "enabled" for event in events if event.name == "demo")


async def test_export_by_the_page(account: Account, chunks_held: Hold) -> None:
    export_page = await page(account)
    assert "Nothing to export" in export_page.text
    assert f"{PATH}/start" not in export_page.forms
    await enable(account)
    export_page = await page(account)
    async with chunks_held():
        response = await submit(account.http, export_page, f"{PATH}/start")
        assert (response.status_code, response.headers["location"]) == (303, PATH)
        export_page = await page(account)
        assert "Your reviews are being exported" in export_page.text
        assert "progress" in export_page.tags
        assert "This page reloads every five seconds." in export_page.text
        assert export_page.attributes["live"]["data-status"] == "exporting"
    export_page = await page_with(account, "Your export is ready")
    assert "40 rows" in export_page.text
    assert "The file is deleted on" in export_page.text
    assert export_page.attributes["download"]["href"] == f"{API}/file"
    assert len(rows(await account.http.get(f"{API}/file"))) == 40
    fragment = await account.http.get(PATH, headers={"Accept": "text/html", "X-Fragment": "status"})
    assert Page(fragment).attributes["live"]["data-status"] == "ready"
    assert "<html" not in fragment.text


async def test_cancel_and_retry_by_the_page(account: Account, chunks_held: Hold) -> None:
    await enable(account)
    async with chunks_held():
        await submit(account.http, await page(account), f"{PATH}/start")
        job_id = (await account.http.get(API)).json()["job_id"]
        await until(account, f"/api/v1/jobs/{job_id}", "status", "running")
        export_page = await page(account)
        response = await submit(account.http, export_page, f"/jobs/{job_id}/cancel")
        assert (response.status_code, response.headers["location"]) == (303, PATH)
        await until(account, f"/api/v1/jobs/{job_id}", "status", "cancelled")
        export_page = await page(account)
    assert "No export yet" in export_page.text
    assert (await account.http.post(f"/api/v1/jobs/{job_id}/retry")).status_code in {200, 202}
    ready = await until(account, API, "status", "ready")
    assert ready["job_id"] == job_id


async def test_a_failure_shows_its_reason_and_can_be_retried(account: Account, chunks_held: Hold) -> None:
    await enable(account)
    async with chunks_held():
        await submit(account.http, await page(account), f"{PATH}/start")
        job_id = (await account.http.get(API)).json()["job_id"]
        await until(account, f"/api/v1/jobs/{job_id}", "status", "running")
        await account.http.post("/api/v1/demo/disable")
    failed = await until(account, API, "status", "failed")
    assert failed["error"]["code"] == "demo_not_enabled"
    export_page = await page(account)
    assert "The export failed" in export_page.text
    assert "demo mode is not enabled" in export_page.text
    assert f"/jobs/{job_id}/retry" in export_page.forms
    response = await submit(account.http, export_page, f"/jobs/{job_id}/retry")
    assert response.headers["location"] == PATH


async def test_a_form_for_a_state_that_has_changed_leads_back(account: Account) -> None:
    await enable(account)
    export_page = await page(account)
    await account.http.post("/api/v1/demo/disable")
    response = await submit(account.http, export_page, f"{PATH}/start")
    assert (response.status_code, response.headers["location"]) == (303, PATH)
    assert "changed in the meantime" in (await page(account)).text


async def test_a_form_without_its_token_starts_nothing(account: Account) -> None:
    await enable(account)
    export_page = await page(account)
    response = await submit(account.http, export_page, f"{PATH}/start", form_token="x")
    assert response.status_code == 403
    assert "This form has expired" in Page(response).text
    assert (await account.http.get(API)).json()["version"] == 0


async def test_a_form_that_is_sent_twice_starts_one_export(account: Account) -> None:
    await enable(account)
    export_page = await page(account)
    for _ in range(2):
        assert (await submit(account.http, export_page, f"{PATH}/start")).status_code == 303
    ready = await until(account, API, "status", "ready")
    assert (await submit(account.http, export_page, f"{PATH}/start")).status_code == 303
    assert (await account.http.get(API)).json() == ready
