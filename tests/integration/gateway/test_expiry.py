"""Expiry of demo mode: set by API and form, run by the schedule."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import identity, ids
from chassis.rpc import client
from repruv.jobs.v1 import admin_service_pb2, admin_service_pb2_grpc
from services.demo import schema
from tests.integration.gateway.conftest import Account
from tests.integration.gateway.html import Page, submit

SETTINGS = "/settings/demo-mode"
SMALL = {"content_count": 2, "interaction_count": 5}


async def until(account: Account, status: str) -> dict[str, Any]:
    body: dict[str, Any] = {}
    async with asyncio.timeout(60):
        while body.get("status") != status:
            await asyncio.sleep(0.05)
            body = (await account.http.get("/api/v1/demo/status")).json()
    return body


async def page_of(account: Account) -> Page:
    return Page(await account.http.get(SETTINGS, headers={"Accept": "text/html"}))


def lasts(status: dict[str, Any]) -> timedelta:
    return datetime.fromisoformat(status["expires_at"]) - datetime.fromisoformat(status["enabled_at"])


@pytest.fixture
async def look_for_expired(jobs_target: str, signer: Callable[[str], identity.Signer]) -> Callable[[], Awaitable[None]]:
    """Trigger the schedule `demo.expire`."""

    async def trigger() -> None:
        channel = client.channel(jobs_target, service="repruv.jobs.v1.AdminService")
        stub = admin_service_pb2_grpc.AdminServiceStub(channel)
        request = admin_service_pb2.TriggerScheduleRequest(name="demo.expire", job_id=str(ids.uuid7()))
        await client.Caller(signer("jobs"))(stub.TriggerSchedule, request, timeout=60.0)
        await channel.close()

    return trigger


async def test_demo_mode_expires_at_its_time(
    account: Account,
    database: Callable[[str], AsyncEngine],
    look_for_expired: Callable[[], Awaitable[None]],
) -> None:
    answer = await account.http.post("/api/v1/demo/enable", json={**SMALL, "expires_in_seconds": 600})
    assert answer.status_code == 202
    assert lasts(await until(account, "enabled")) == timedelta(minutes=10)
    async with database("demo").begin() as conn:
        of_account = sa.cast(schema.demo_modes.c.owner_id, sa.Text) == account.user_id
        await conn.execute(sa.update(schema.demo_modes).where(of_account).values(expires_at=sa.func.now()))
    await look_for_expired()
    assert (await until(account, "disabled"))["expires_at"] is None


async def test_demo_mode_without_expiry_stays(account: Account) -> None:
    await account.http.post("/api/v1/demo/enable", json=SMALL)
    assert (await until(account, "enabled"))["expires_at"] is None
    assert "Ends" not in (await page_of(account)).text


@pytest.mark.parametrize(("chosen", "days"), [("1", 1), ("30", 30)])
async def test_form_sets_the_expiry_and_the_page_shows_it(account: Account, chosen: str, days: int) -> None:
    page = await page_of(account)
    assert "Disable automatically Never After 1 day After 7 days After 30 days" in page.text
    counts = {name: str(count) for name, count in SMALL.items()}
    answer = await submit(account.http, page, f"{SETTINGS}/enable", **counts, niche="auto", expires=chosen)
    assert answer.status_code == 303
    status = await until(account, "enabled")
    assert lasts(status) == timedelta(days=days)
    response = await account.http.get(SETTINGS, headers={"Accept": "text/html"})
    assert "Disabled automatically" in response.text
    assert f'<time datetime="{status["expires_at"]}"' in response.text


async def test_form_refuses_other_expiries(account: Account) -> None:
    page = await page_of(account)
    answer: httpx.Response = await submit(account.http, page, f"{SETTINGS}/enable", expires="365")
    assert answer.status_code == 422
    refused = Page(answer)
    assert refused.attributes["expires"]["aria-invalid"] == "true"
    assert "Choose one of the options." in refused.text
