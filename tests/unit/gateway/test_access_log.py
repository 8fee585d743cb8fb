"""Metrics of requests."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from prometheus_client import REGISTRY
from starlette.types import Message, Receive, Scope, Send

from gateway import problems
from gateway.middleware import access_log


@pytest.mark.parametrize(("method", "status", "counted"), [("GET", 200, "GET"), ("PROPFIND", 405, "any")])
async def test_only_methods_of_the_route_name_a_series(method: str, status: int, counted: str) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        scope["route"] = SimpleNamespace(path="/tests/access-log")
        await send({"type": "http.response.start", "status": status, "headers": []})

    await access_log.AccessLog(application, responder=problems.ErrorResponder())(
        {"type": "http", "method": method, "path": "/", "headers": []}, _receive, _send
    )
    labels = {"route": "/tests/access-log", "status": str(status)}
    assert REGISTRY.get_sample_value("http_requests_total", {"method": counted, **labels}) == 1
    if method != counted:
        assert REGISTRY.get_sample_value("http_requests_total", {"method": method, **labels}) is None


async def _receive() -> Message:
    return {"type": "http.request"}


async def _send(message: Message) -> None:
    """Discard a message."""
