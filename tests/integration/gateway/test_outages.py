"""Responses of the gateway while a service is down, hangs or fails unexpectedly."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import grpc
import httpx
import pytest

from chassis import identity
from chassis.rpc import server
from dev import subprocesses
from gateway import clients
from gateway.clients import service
from gateway.middleware import overload
from gateway.settings import Settings
from repruv.demo.v1 import demo_service_pb2_grpc
from tests.integration.gateway.conftest import Account, gateway_serving
from tests.integration.gateway.html import HTML, Page, open_page, submit
from tests.integration.gateway.streaming import opened

Register = Callable[..., Awaitable[Account]]
SERVICE = "repruv.demo.v1.DemoService"


class Troubled(demo_service_pb2_grpc.DemoServiceServicer):
    """A demo service of which one call hangs and another fails."""

    async def GetDemo(self, request: Any, context: Any) -> Any:  # noqa: N802
        await asyncio.Event().wait()

    async def GetDashboard(self, request: Any, context: Any) -> Any:  # noqa: N802
        raise RuntimeError("secret")


@pytest.fixture
async def without_demo(gateway_settings: Callable[[], Settings]) -> AsyncIterator[str]:
    """Run a gateway whose demo service is down."""
    async with without(gateway_settings(), "demo") as url:
        yield url


def without(settings: Settings, service: str) -> AbstractAsyncContextManager[str]:
    """Run a gateway without a service."""
    nowhere: Any = {f"{service}_target": f"127.0.0.1:{subprocesses.free_port()}"}
    return gateway_serving(dataclasses.replace(settings, **nowhere), probe="/healthz")


@pytest.fixture
async def with_troubled_demo(
    gateway_settings: Callable[[], Settings], verifier: identity.Verifier
) -> AsyncIterator[str]:
    """Run a gateway in front of such a demo service."""

    def register(grpc_server: grpc.aio.Server) -> None:
        servicer = Troubled()  # type: ignore[abstract]
        demo_service_pb2_grpc.add_DemoServiceServicer_to_server(servicer, grpc_server)

    serving = server.serving(
        listen="127.0.0.1:0",
        services=[
            server.Service(
                name=SERVICE,
                register=register,
                callers={"GetDemo": frozenset({"gateway"}), "GetDashboard": frozenset({"gateway"})},
            )
        ],
        verifier=verifier,
        translate=lambda error: None,
    )
    async with serving as port:
        config = dataclasses.replace(gateway_settings(), demo_target=f"127.0.0.1:{port}")
        async with gateway_serving(config) as url:
            yield url


def problem(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def test_missing_service_is_503_and_other_routes_work(
    without_demo: str, register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients.Demo, "timeout", 0.3)
    account = await register(without_demo)
    answer = await account.http.get("/api/v1/demo/status")
    assert problem(answer) == (503, "unavailable")
    assert answer.headers["retry-after"] == "1"
    assert (await account.http.get("/api/v1/auth/me")).json()["redirect_path"] == "/dashboard"
    assert (await account.http.get("/api/v1/jobs")).status_code == 200
    async with opened(account.http) as stream:
        hello = await stream.next()
    assert hello is not None
    assert hello.name == "hello"
    ready = await account.http.get("/readyz")
    assert (ready.status_code, ready.json()["services"]) == (503, {"auth": True, "demo": False, "jobs": True})


async def test_service_without_answers_takes_no_places_from_requests_for_others(
    with_troubled_demo: str, register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients.Demo, "timeout", 0.3)
    waiting, other = [await register(with_troubled_demo) for _ in range(8)], await register(with_troubled_demo)
    # The first call finds out.
    assert problem(await other.http.get("/api/v1/demo/status")) == (504, "deadline_exceeded")
    monkeypatch.setattr(clients.Demo, "timeout", 60.0)
    monkeypatch.setattr(overload, "MAX_WAIT_SECONDS", 60.0)
    calls = [asyncio.create_task(each.http.get("/api/v1/demo/status")) for each in waiting for _ in range(8)]
    refused, tries = set[asyncio.Task[httpx.Response]](), set(calls)
    async with asyncio.timeout(50):
        while len(tries) > service.MAX_TRIES:
            done, tries = await asyncio.wait(tries, return_when=asyncio.FIRST_COMPLETED)
            refused |= done
        assert {problem(call.result()) for call in refused} == {(503, "unavailable")}
        assert (await other.http.get("/api/v1/auth/profile")).status_code == 200
    for call in tries:
        call.cancel()
    await asyncio.gather(*tries, return_exceptions=True)


async def test_a_hanging_call_is_504_and_a_failing_one_500(
    with_troubled_demo: str, register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = await register(with_troubled_demo)
    with monkeypatch.context() as patch:
        patch.setattr(clients.Demo, "timeout", 0.5)
        assert problem(await account.http.get("/api/v1/demo/status")) == (504, "deadline_exceeded")
    failed = await account.http.get("/api/v1/metrics/dashboard")
    assert problem(failed) == (500, "internal")
    assert "secret" not in failed.text
    # That the service does not let the gateway in is no fault of the client.
    assert problem(await account.http.post("/api/v1/demo/dismiss")) == (500, "internal")


async def test_page_of_exports_does_not_judge_by_an_unknown_state(without_demo: str, register: Register) -> None:
    account = await register(without_demo)
    page = await open_page(account.http, "/settings/exports")
    assert "Can’t load your export" in page.text
    assert "Nothing to export" not in page.text


async def test_search_without_a_service_claims_no_absence(
    gateway_settings: Callable[[], Settings], admin: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients.Jobs, "timeout", 0.3)
    monkeypatch.setattr(clients.Engine, "timeout", 0.3)
    async with (
        without(gateway_settings(), "jobs") as url,
        httpx.AsyncClient(base_url=url, cookies=admin.cookies, timeout=60) as http,
    ):
        for text in ("boom", "01a22ddd-cb17-7e61-8986-633ad7e47966"):
            page = await open_page(http, f"/admin/search?q={text}")
            assert "some results are missing" in page.text
            assert "No results" not in page.text


async def test_browser_is_signed_out_without_auth(
    gateway_settings: Callable[[], Settings], account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = await open_page(account.http, "/settings/profile")
    monkeypatch.setattr(clients.Auth, "timeout", 0.3)
    async with (
        without(gateway_settings(), "auth") as url,
        httpx.AsyncClient(base_url=url, cookies=account.http.cookies, timeout=60) as http,
    ):
        answer = await submit(http, page, "/logout")
        assert (answer.status_code, answer.headers["location"]) == (303, "/login")
        assert "session" not in http.cookies
        assert "The session could not be ended" in Page(await http.get("/login", headers=HTML)).text
