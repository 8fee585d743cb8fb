"""The REST API as a client sees it."""

from __future__ import annotations

import asyncio
import gzip
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from chassis import ids
from tests.integration.gateway.conftest import PASSWORD, Account

ROOT = Path(__file__).parents[3]
SMALL = {"profile_type": "creator", "niche": "auto", "content_count": 5, "interaction_count": 40}


async def _until(account: Account, status: str) -> dict[str, Any]:
    body: dict[str, Any] = {}
    async with asyncio.timeout(60):
        while body.get("status") != status:
            await asyncio.sleep(0.05)
            body = (await account.http.get("/api/v1/demo/status")).json()
    return body


def problem(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == answer.status_code
    assert body["request_id"] == answer.headers["x-request-id"]
    return answer.status_code, body["code"]


async def test_demo_mode_from_enable_to_disable(account: Account) -> None:
    answer = await account.http.post("/api/v1/demo/enable", json=SMALL)
    assert answer.status_code == 202
    accepted = answer.json()
    assert accepted["status"] == "enabling"
    assert answer.headers["location"] == f"/api/v1/jobs/{accepted['job_id']}"

    enabled = await _until(account, "enabled")
    assert enabled["demo_mode"] is True
    assert enabled["profile"]["profile_type"] == "creator"
    assert enabled["stats"]["interactions_written"] == 40
    numbers = (await account.http.get("/api/v1/metrics/dashboard")).json()
    assert (numbers["demo"], numbers["interaction_count"], len(numbers["interactions_per_day"])) == (True, 40, 30)
    page = (await account.http.get("/api/v1/interactions", params={"page_size": 7})).json()
    assert len(page["interactions"]) == 7
    more = await account.http.get(
        "/api/v1/interactions", params={"page_size": 7, "page_token": page["next_page_token"]}
    )
    assert more.json()["interactions"][0]["interaction_id"] not in {i["interaction_id"] for i in page["interactions"]}
    assert len((await account.http.get("/api/v1/content")).json()["content"]) == 5

    again = await account.http.post("/api/v1/demo/enable", json=SMALL)
    assert problem(again) == (409, "demo_already_enabled")
    disabling = await account.http.post("/api/demo/disable")
    assert (disabling.status_code, disabling.json()["status"]) == (202, "disabling")
    disabled = await _until(account, "disabled")
    assert (disabled["stats"]["removed_interactions"], disabled["stats"]["removed_content"]) == (40, 5)

    history = (await account.http.get(f"/api/jobs/{accepted['job_id']}/history")).json()
    assert [t["status"] for t in history["transitions"]] == ["pending", "running", "completed"]
    # The handler moves demo mode; its job completes a moment later.
    async with asyncio.timeout(60):
        completed: list[str] = []
        while len(completed) < 2:
            listed = (await account.http.get("/api/v1/jobs", params={"status": ["completed"]})).json()
            completed = [job["kind"] for job in listed["jobs"]]
    assert completed == ["demo.disable", "demo.enable"]


async def test_unchanged_job_is_a_304(account: Account) -> None:
    job_id = (await account.http.post("/api/v1/demo/enable", json=SMALL)).json()["job_id"]
    await _until(account, "enabled")

    async def get(path: str, **headers: str) -> httpx.Response:
        return await account.http.get(path, headers=headers)

    job = await get(f"/api/v1/jobs/{job_id}")
    async with asyncio.timeout(60):
        while job.json()["status"] != "completed":
            assert job.headers["retry-after"]
            job = await get(f"/api/v1/jobs/{job_id}")
    assert job.json()["progress"]["percent"] == 100
    assert "retry-after" not in job.headers
    tag = job.headers["etag"]
    assert tag == f'"{job.json()["version"]}"'
    unchanged = await get(f"/api/v1/jobs/{job_id}/status", **{"If-None-Match": f'"0", W/{tag}'})
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert (await get(f"/api/v1/jobs/{job_id}", **{"If-None-Match": '"0"'})).status_code == 200


async def test_an_idempotency_key_gives_the_same_job(account: Account) -> None:
    headers = {"Idempotency-Key": "once"}
    first = await account.http.post("/api/v1/demo/enable", json=SMALL, headers=headers)
    again = await account.http.post("/api/v1/demo/enable", json=SMALL, headers=headers)
    assert (again.status_code, again.json()["job_id"]) == (202, first.json()["job_id"])
    assert again.headers["idempotency-replayed"] == "true"
    other = await account.http.post("/api/v1/demo/enable", json={**SMALL, "content_count": 6}, headers=headers)
    assert problem(other) == (422, "idempotency_key_reused")
    bad = await account.http.post("/api/v1/demo/enable", json=SMALL, headers={"Idempotency-Key": "x" * 256})
    assert problem(bad) == (400, "idempotency_key_invalid")


async def test_jobs_of_other_users_are_not_found(account: Account, register: Callable[..., Awaitable[Account]]) -> None:
    job_id = (await account.http.post("/api/v1/demo/enable", json=SMALL)).json()["job_id"]
    stranger = await register()
    for path in (job_id, f"{job_id}/status", f"{job_id}/history", f"{job_id}/events", "nonsense", "nonsense/events"):
        assert problem(await stranger.http.get(f"/api/v1/jobs/{path}")) == (404, "job_not_found")
    for action in ("cancel", "retry"):
        assert problem(await stranger.http.post(f"/api/v1/jobs/{job_id}/{action}")) == (404, "job_not_found")
    no_jobs = {"jobs": [], "next_page_token": "", "previous_page_token": ""}
    assert (await stranger.http.get("/api/v1/jobs")).json() == no_jobs


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"niche": "no such niche"}, "niche"),
        ({"profile_type": "pirate"}, "profile_type"),
        ({"content_count": 0}, "content_count"),
        ({"interaction_count": 100_001}, "interaction_count"),
        ({"content_count": "5"}, "content_count"),
        ({"content_count": 10**12}, "content_count"),
        ({"content_count": 5.5}, "content_count"),
        ({"niche": None}, "niche"),
        ({"niche": "a\0b"}, "niche"),
        ({"expires_in_seconds": 599}, "expires_in_seconds"),
        ({"expires_in_seconds": 7_776_001}, "expires_in_seconds"),
        ({"expires_in_seconds": 3600.5}, "expires_in_seconds"),
        ({"expires_in_seconds": "3600"}, "expires_in_seconds"),
        ({"surprise": 1}, "surprise"),
    ],
)
async def test_invalid_options_are_named(account: Account, body: dict[str, object], field: str) -> None:
    answer = await account.http.post("/api/v1/demo/enable", json=body)
    assert problem(answer)[0] == 422
    assert [mistake["field"] for mistake in answer.json()["errors"]] == [field]


async def test_http_errors_are_problems(account: Account) -> None:
    http = account.http
    json_type = {"Content-Type": "application/json"}

    async def chunks() -> Any:
        for _ in range(70):
            yield b"x" * 1024

    assert problem(await http.get("/api/v1/nothing")) == (404, "not_found")
    assert problem(await http.get("/nothing")) == (404, "not_found")
    wrong_method = await http.get("/api/v1/demo/enable")
    assert problem(wrong_method) == (405, "method_not_allowed")
    assert wrong_method.headers["allow"] == "POST"
    assert (await http.put("/api/v1/demo/status")).headers["allow"] == "GET, HEAD"
    malformed = await http.post("/api/v1/demo/enable", content=b"{", headers=json_type)
    assert problem(malformed) == (400, "malformed_json")
    not_utf8 = await http.post("/api/v1/demo/enable", content=b'"\xff"', headers=json_type)
    assert problem(not_utf8) == (400, "malformed_json")
    declared = await http.post("/api/v1/demo/enable", content=b"x" * 70_000, headers=json_type)
    assert problem(declared) == (413, "body_too_large")
    chunked = await http.post("/api/v1/demo/enable", content=chunks(), headers=json_type)
    assert problem(chunked) == (413, "body_too_large")
    assert problem(await http.get("/api/v1/jobs", params={"page_size": 0})) == (422, "invalid_argument")
    assert problem(await http.get("/api/v1/jobs", params={"status": "lost"})) == (422, "invalid_argument")
    assert problem(await http.get("/api/v1/jobs", params={"page_token": "nonsense"}))[0] == 422


async def test_a_wrong_password_is_never_repeated(url: str) -> None:
    async with httpx.AsyncClient(base_url=url) as http:
        answer = await http.post("/api/v1/auth/login", json={"email": "x@example.org", "password": 1234567890123})
        assert problem(answer) == (422, "invalid_argument")
        assert "1234567890123" not in answer.text
        short = await http.post(
            "/api/v1/auth/register", json={"email": "x@example.org", "password": "tiny-secret-5"[:6]}
        )
        assert problem(short)[0] == 422
        assert "tiny-s" not in short.text
        assert short.json()["errors"][0]["field"] == "password"


async def test_valid_request_id_of_the_client_is_kept(account: Account) -> None:
    answer = await account.http.get("/api/v1/auth/me", headers={"X-Request-Id": "abc-1.2_3"})
    assert answer.headers["x-request-id"] == "abc-1.2_3"
    for insane in ("a b", "x" * 101, 'a"b'):
        answer = await account.http.get("/api/v1/auth/me", headers={"X-Request-Id": insane})
        assert answer.headers["x-request-id"] != insane


async def test_request_id_is_an_id_of_a_trace_that_no_client_chooses(account: Account) -> None:
    chosen = ids.uuid7().hex
    answer = await account.http.get("/api/v1/auth/me", headers={"traceparent": f"00-{chosen}-00f067aa0ba902b7-01"})
    request_id = answer.headers["x-request-id"]
    assert request_id != chosen
    assert uuid.UUID(request_id).hex == request_id and uuid.UUID(request_id).version == 7


async def test_me_has_the_landing_page(account: Account) -> None:
    me = (await account.http.get("/api/v1/auth/me")).json()
    assert me == {
        "user_id": account.user_id,
        "email": account.email,
        "name": "",
        "role": "user",
        "time_zone": None,
        "theme": "system",
        "can_access_dashboard": True,
        "redirect_path": "/settings/demo-mode",
    }
    await account.http.post("/api/v1/demo/enable", json=SMALL)
    assert (await account.http.get("/api/auth/me")).json()["redirect_path"] == "/dashboard"


async def test_probes_and_documents(url: str) -> None:
    async with httpx.AsyncClient(base_url=url) as http:
        assert (await http.get("/healthz")).json() == {"status": "ok"}
        ready = (await http.get("/readyz")).json()
        assert ready["services"] == {"auth": True, "demo": True, "jobs": True}
        assert "http_requests_total" in (await http.get("/metrics")).text
        page = await http.get("/docs")
        assert "https://" not in page.text
        assert "script-src" not in page.headers["content-security-policy"]
        for asset in ("swagger-ui-bundle.js", "swagger-ui.css"):
            assert (await http.get(f"/docs/assets/{asset}")).status_code == 200
        assert (await http.get("/docs/start.js")).status_code == 200
        schema = (await http.get("/openapi.json")).json()
        assert "/api/v1/demo/enable" in schema["paths"]
        assert not any(path.startswith("/api/demo") for path in schema["paths"])
        messages = await http.get("/asyncapi.json")
        assert messages.headers["content-type"] == "application/json"
        assert messages.text == (ROOT / "docs" / "asyncapi.json").read_text()
        headers = (await http.get("/api/v1/auth/me")).headers
        assert headers["content-security-policy"].startswith("default-src 'self'")
        assert headers["x-content-type-options"] == "nosniff"


async def test_login_and_token(account: Account, url: str) -> None:
    credentials = {"email": account.email, "password": PASSWORD}
    async with httpx.AsyncClient(base_url=url) as http:
        wrong = await http.post("/api/v1/auth/login", json={**credentials, "password": "wrong-wrong-wrong"})
        assert problem(wrong) == (401, "invalid_credentials")
        token = (await http.post("/api/v1/auth/token", json=credentials)).json()
        assert not http.cookies
        assert problem(await http.get("/api/v1/auth/me")) == (401, "unauthenticated")
        bearer = {"Authorization": f"Bearer {token['token']}"}
        assert (await http.get("/api/v1/auth/me", headers=bearer)).json()["email"] == account.email
        body = (await http.post("/api/v1/auth/login", json=credentials)).json()
        assert body["user"]["email"] == account.email
        assert body["session"]["current"] is True
        assert http.cookies


async def test_problems_of_bodies_are_documented(account: Account) -> None:
    paths = (await account.http.get("/openapi.json")).json()["paths"]
    operations = [(method, operation) for path in paths.values() for method, operation in path.items()]
    # Bodies are judged before it is known whether their route reads one.
    for operation in [operation for method, operation in operations if method != "get"]:
        malformed = {"400"} if "requestBody" in operation else set()
        assert {"403", "408", "413", "415", *malformed} <= set(operation["responses"]), operation["operationId"]


async def test_headers_that_clients_send_and_read_are_documented(account: Account) -> None:
    paths = (await account.http.get("/openapi.json")).json()["paths"]

    def sent(path: str, method: str = "get") -> set[str]:
        return {each["name"] for each in paths[path][method].get("parameters", ()) if each["in"] == "header"}

    for path in ("/api/v1/jobs/{job_id}", "/api/v1/jobs/{job_id}/status"):
        assert sent(path) == {"If-None-Match"}
        responses = paths[path]["get"]["responses"]
        assert all(set(responses[status]["headers"]) == {"ETag", "Retry-After"} for status in ("200", "304"))
    for path in ("/api/v1/events", "/api/v1/jobs/{job_id}/events", "/api/v1/admin/jobs/{job_id}/events"):
        assert sent(path) == {"Last-Event-ID"}
    for path in ("/api/v1/demo/enable", "/api/v1/demo/disable", "/api/v1/exports"):
        assert sent(path, "post") == {"Idempotency-Key"}
        assert set(paths[path]["post"]["responses"]["202"]["headers"]) == {"Location", "Idempotency-Replayed"}


async def test_a_compressed_body_is_415(account: Account) -> None:
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    answer = await account.http.post("/api/v1/demo/enable", content=gzip.compress(b"{}"), headers=headers)
    assert problem(answer) == (415, "unsupported_media_type")
    assert answer.json()["errors"] == [
        {"field": "content-encoding", "detail": "The body must not be compressed: send no Content-Encoding."}
    ]


@pytest.mark.parametrize("declared", ["text/plain", "application/json; charset=utf-16", "application/xml"])
async def test_a_body_that_is_not_json_in_utf8_is_415(account: Account, declared: str) -> None:
    body = b'{"profile_type": "creator", "niche": "tech"}'
    answer = await account.http.post("/api/v1/demo/enable", content=body, headers={"content-type": declared})
    assert problem(answer) == (415, "unsupported_media_type")
    # Without a body nothing is unsupported.
    read = await account.http.get("/api/v1/demo/status", headers={"content-type": declared})
    assert read.status_code == 200
