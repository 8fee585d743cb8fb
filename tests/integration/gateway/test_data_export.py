"""The export of a user's data over REST and on its page, through all services."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import re
import zipfile
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from services.auth.data_export import owner_rows
from services.demo import owner_rows as demo_rows
from services.jobs import owner_rows as jobs_rows
from tests.integration.gateway.conftest import PASSWORD, Account, age_sessions
from tests.integration.gateway.html import HTML, Page, open_page, submit

BASE = "/api/v1/auth/data-export"
Files = dict[str, list[dict[str, Any]]]


async def start(account: Account) -> str:
    answer = await account.http.post(BASE)
    assert answer.status_code == 202, answer.text
    assert answer.json()["status"] == "exporting"
    job_id: str = answer.json()["job_id"]
    assert answer.headers["location"] == f"/api/v1/jobs/{job_id}"
    return job_id


async def wait_for_status(account: Account, *states: str) -> dict[str, Any]:
    """Wait until the export has one of these states."""
    async with asyncio.timeout(120):
        while (status := (await account.http.get(BASE)).json())["status"] not in states:
            await asyncio.sleep(0.02)
    return dict(status)


async def exported(account: Account) -> tuple[Files, dict[str, Any]]:
    """Export; return the rows of each file, and the manifest."""
    await start(account)
    await wait_for_status(account, "ready")
    answer = await account.http.get(f"{BASE}/file")
    assert answer.status_code == 200, answer.text
    return read(answer.content)


def read(archive: bytes) -> tuple[Files, dict[str, Any]]:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        assert opened.testzip() is None
        manifest = json.loads(opened.read("manifest.json"))
        files: Files = {}
        for each in manifest["files"]:
            content = opened.read(each["file"])
            assert hashlib.sha256(content).hexdigest() == each["sha256"]
            files[each["table"]] = [json.loads(line) for line in content.splitlines()]
            assert len(files[each["table"]]) == each["rows"]
    return files, manifest


async def test_archive_has_the_rows_of_every_service(
    account: Account, register: Callable[..., Awaitable[Account]]
) -> None:
    stranger = await register()
    for each in (account, stranger):
        response = await each.http.post("/api/v1/auth/api-tokens", json={"name": "Nightly", "scopes": ["read"]})
        assert response.status_code == 201
        enabled = await each.http.post("/api/v1/demo/enable", json={"content_count": 3, "interaction_count": 1_200})
        assert enabled.status_code == 202
    async with asyncio.timeout(120):
        while (await account.http.get("/api/v1/demo/status")).json()["status"] != "enabled":
            await asyncio.sleep(0.02)
    files, manifest = await exported(account)
    assert (manifest["format"], manifest["user_id"]) == (1, account.user_id)
    modules = (owner_rows, demo_rows, jobs_rows)
    assert files.keys() == {table.name for module in modules for table in module.TABLES}
    assert manifest["left_out"] == {name: reason for module in modules for name, reason in module.LEFT_OUT.items()}
    assert [row["email"] for row in files["auth.users"]] == [account.email]
    assert [row["name"] for row in files["auth.api_tokens"]] == ["Nightly"]
    assert {"registered", "api_token_created", "data_export_requested"} <= {
        row["kind"] for row in files["auth.security_events"]
    }
    assert len(files["demo.content"]) == 3
    # More rows than a page, each once.
    assert sorted(row["position"] for row in files["demo.interactions"]) == list(range(1_200))
    assert {row["kind"] for row in files["jobs.jobs"]} == {"demo.enable", "auth.export-data"}
    assert files["jobs.job_events"]
    for table, rows in files.items():
        owner = "user_id" if table.startswith("auth.") else "owner_id"
        assert {row[owner] for row in rows} <= {account.user_id}, table
    text = json.dumps([files, manifest])
    assert stranger.email not in text
    assert not re.search(r"argon2|rp[avclk]_[A-Za-z0-9_-]{43}", text)


async def test_start_and_download_need_a_fresh_session(
    account: Account, database: Callable[[str], AsyncEngine]
) -> None:
    await start(account)
    await wait_for_status(account, "ready")
    await age_sessions(database("auth"), account.user_id, timedelta(minutes=11))
    for call in (account.http.post(BASE), account.http.get(f"{BASE}/file")):
        refused = await call
        assert (refused.status_code, refused.json()["code"]) == (403, "reauthentication_required")
    page = await account.http.get("/settings/data", headers=HTML)
    assert 'href="/reauthenticate?next=/settings/data"' in page.text
    assert "/api/v1/auth/data-export/file" not in page.text
    assert (await account.http.post("/api/v1/auth/reauthenticate", json={"password": PASSWORD})).status_code == 200
    assert (await account.http.get(f"{BASE}/file")).status_code == 200
    security = Page(await account.http.get("/settings/security", headers=HTML)).text
    assert "Copy of your data requested" in security
    assert "Copy of your data downloaded" in security


async def test_only_the_owner_sees_an_export(
    account: Account, register: Callable[..., Awaitable[Account]], admin: httpx.AsyncClient
) -> None:
    await start(account)
    await wait_for_status(account, "ready")
    other = await register()
    for http in (other.http, admin):
        assert (await http.get(BASE)).json()["status"] == "none"
        refusal = await http.get(f"{BASE}/file")
        assert (refusal.status_code, refusal.json()["code"]) == (404, "data_export_not_found")
    response = await account.http.post("/api/v1/auth/api-tokens", json={"name": "x", "scopes": ["write"]})
    headers = {"Authorization": f"Bearer {response.json()['token']}"}
    async with httpx.AsyncClient(base_url=account.http.base_url, headers=headers, timeout=60.0) as program:
        for call in (program.post(BASE), program.get(BASE), program.get(f"{BASE}/file")):
            assert (await call).json()["code"] == "session_required"


async def test_one_export_at_a_time_and_a_new_one_replaces_the_old(
    account: Account, database: Callable[[str], AsyncEngine]
) -> None:
    engine = database("auth")
    statement = sa.text("SELECT FROM auth.users WHERE user_id = :user FOR UPDATE")
    async with engine.begin() as conn:
        # Nothing to do with the job: the second start waits here for the first one, and then finds it running.
        await conn.execute(statement, {"user": account.user_id})
        starts = [asyncio.ensure_future(account.http.post(BASE)) for _ in range(2)]
    answers = await asyncio.gather(*starts)
    codes = sorted(answer.status_code for answer in answers)
    assert codes[0] == 202
    assert codes[1] in {202, 409}
    first = await wait_for_status(account, "ready")
    await start(account)
    second = await wait_for_status(account, "ready")
    assert second["version"] > first["version"]
    chunks = sa.text("SELECT DISTINCT generation FROM auth.data_export_chunks WHERE user_id = :user")
    async with engine.connect() as conn:
        assert len((await conn.execute(chunks, {"user": account.user_id})).all()) == 1


async def test_starts_are_throttled(account: Account) -> None:
    for _ in range(3):
        await start(account)
        await wait_for_status(account, "ready")
    response = await account.http.post(BASE)
    assert (response.status_code, response.json()["code"]) == (429, "too_many_attempts")
    assert (await account.http.get(BASE)).json()["status"] == "ready"


async def test_page_starts_shows_and_downloads(account: Account) -> None:
    before = await open_page(account.http, "/settings/data")
    assert "No export yet" in before.text
    started = await submit(account.http, before, "/settings/data/start")
    assert (started.status_code, started.headers["location"]) == (303, "/settings/data")
    await wait_for_status(account, "ready")
    # The handler moves the export; its job completes a moment later.
    async with asyncio.timeout(120):
        while not (notified := (await account.http.get("/api/v1/notifications")).json()["notifications"]):
            await asyncio.sleep(0.02)
    assert [each["kind"] for each in notified] == ["auth.export-data"]
    page = await account.http.get("/settings/data", headers=HTML)
    assert "Your data is ready" in Page(page).text
    assert 'href="/api/v1/auth/data-export/file"' in page.text
    fragment = await account.http.get("/settings/data", headers={**HTML, "X-Fragment": "status"})
    assert "<html" not in fragment.text
    assert 'id="live"' in fragment.text
    file = await account.http.get(f"{BASE}/file")
    assert re.fullmatch(r'attachment; filename="repruv-data-\d{4}-\d\d-\d\d\.zip"', file.headers["content-disposition"])
    assert "no-store" in file.headers["cache-control"]
    # The page shows how the job ended.
    assert (await account.http.get("/api/v1/notifications")).json()["notifications"] == []


@pytest.mark.parametrize("table", ["auth.data_exports", "auth.data_export_chunks"])
async def test_archive_goes_with_the_account(
    account: Account, database: Callable[[str], AsyncEngine], table: str
) -> None:
    await start(account)
    await wait_for_status(account, "ready")
    user = {"user": account.user_id}
    async with database("auth").begin() as conn:
        await conn.execute(sa.text("DELETE FROM auth.users WHERE user_id = :user"), user)
        assert (await conn.execute(sa.text(f"SELECT FROM {table} WHERE user_id = :user"), user)).all() == []
        await conn.rollback()
