"""HEAD is answered like GET, without the body."""

from __future__ import annotations

import httpx
import pytest

from tests.integration.gateway.conftest import Account

PATHS = (
    "/healthz",
    "/readyz",
    "/metrics",
    "/openapi.json",
    "/asyncapi.json",
    "/docs",
    "/login",
    "/dashboard",
    "/jobs",
    "/nowhere",
    "/api/v1/nowhere",
    "/api/v1/auth/me",
    "/api/v1/jobs",
    "/api/v1/demo/status",
    "/api/v1/connections",
    "/api/demo/status",
)


@pytest.mark.parametrize("path", PATHS)
async def test_head_has_the_status_and_headers_of_get(account: Account, path: str) -> None:
    get, head = await account.http.get(path), await account.http.head(path)
    assert head.status_code == get.status_code
    assert head.content == b""
    names = {"content-type", "cache-control", "location", "allow"}
    assert {name: head.headers.get(name) for name in names} == {name: get.headers.get(name) for name in names}
    assert "content-length" in head.headers
    # The connection remains usable.
    assert (await account.http.get("/healthz")).status_code == 200


async def test_head_of_a_call_that_only_posts_names_post(account: Account) -> None:
    response = await account.http.head("/api/v1/demo/enable")
    assert (response.status_code, response.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize(
    "path",
    ["/events", "/events/poll", "/connections/youtube/callback", "/exports/file", "/auth/data-export/file"],
)
async def test_head_neither_opens_a_stream_nor_finishes_a_consent_nor_reads_a_file(account: Account, path: str) -> None:
    response = await account.http.head(f"/api/v1{path}")
    assert (response.status_code, response.headers["allow"]) == (405, "GET")


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/dashboard", "GET, HEAD"),
        ("/login", "GET, HEAD, POST"),
        ("/settings/exports/start", "GET, HEAD, POST"),
        ("/healthz", "GET"),
    ],
)
async def test_refused_method_names_those_of_all_routes_of_a_page(account: Account, path: str, methods: str) -> None:
    response = await account.http.delete(path, headers={"Origin": str(account.http.base_url)})
    assert (response.status_code, response.headers["allow"]) == (405, methods)


async def test_head_needs_a_session_where_get_does(url: str) -> None:
    async with httpx.AsyncClient(base_url=url) as nobody:
        assert (await nobody.head("/api/v1/jobs")).status_code == 401
