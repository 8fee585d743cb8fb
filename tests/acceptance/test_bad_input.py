"""Invalid input of any kind gets a problem that names the error, and the service keeps running."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from tests.acceptance.system import System
from tests.acceptance.users import PASSWORD, User

JSON = {"Content-Type": "application/json"}
NO_JOB = "01a20888-0fc6-7827-970b-d642b6eb223b"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bad:
    """A bad request and the problem it must get."""

    name: str
    path: str
    status: int
    code: str
    method: str = "POST"
    wrong: str = ""
    """The field that the problem must name."""
    json: Any = None
    content: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)


def _enable(name: str, wrong: str, /, **body: object) -> Bad:
    return Bad(name=name, path="/demo/enable", status=422, code="invalid_argument", wrong=wrong, json=body)


def _body(name: str, content: bytes, status: int, code: str, headers: dict[str, str] = JSON) -> Bad:
    return Bad(name=name, path="/demo/enable", status=status, code=code, content=content, headers=headers)


def _register(name: str, wrong: str, /, code: str = "invalid_argument", **body: object) -> Bad:
    account = {"email": "nobody@example.com", "password": PASSWORD, **body}
    return Bad(name=name, path="/auth/register", status=422, code=code, wrong=wrong, json=account)


def _get(name: str, path: str, status: int, code: str, wrong: str = "", **headers: str) -> Bad:
    return Bad(name=name, path=path, status=status, code=code, method="GET", wrong=wrong, headers=headers)


WRONG = {"email": "nobody@example.com", "password": "wrong-wrong-wrong"}
KEY_INVALID: Any = {
    "path": "/demo/enable",
    "status": 400,
    "code": "idempotency_key_invalid",
    "wrong": "Idempotency-Key",
}
FOREIGN: Any = {"path": "/demo/enable", "status": 403, "code": "cross_site_request"}
NO_SIZES: list[object] = [-1, 100_001, 2**31, 2**63, 10**400, -(10**400), 1.5, 60.5, "60", True, False, [60], {}]
ENABLE = [
    _enable("unknown niche", "niche", niche="astrology"),
    _enable("unknown profile type", "profile_type", profile_type="pirate"),
    _enable("niche in capitals", "niche", niche="TECH_REVIEWS"),
    *(_enable(f"content_count {size!r:.12}", "content_count", content_count=size) for size in [0, 1001, *NO_SIZES]),
    *(_enable(f"interaction_count {size!r:.12}", "interaction_count", interaction_count=size) for size in NO_SIZES),
    _enable("niche null", "niche", niche=None),
    _enable("niche number", "niche", niche=1),
    _enable("niche list", "niche", niche=["tech_reviews"]),
    _enable("profile type object", "profile_type", profile_type={}),
    _enable("unknown field", "interactions", interactions=5),
    _enable("unknown field with a lone surrogate", "", **{"\ud800": 1}),
    _enable("NUL in niche", "niche", niche="tech\0reviews"),
    _enable("NUL in profile type", "profile_type", profile_type="\0"),
    _enable("lone surrogate in niche", "niche", niche="\ud800"),
    _enable("long niche", "niche", niche="x" * 10_000),
]
BODIES = [
    _body("malformed JSON", b'{"niche":', 400, "malformed_json"),
    _body("two documents", b"{} {}", 400, "malformed_json"),
    _body("NaN", b'{"content_count": NaN}', 422, "invalid_argument"),
    _body("Infinity", b'{"content_count": Infinity}', 422, "invalid_argument"),
    _body("not an object", b"[1, 2]", 422, "invalid_argument"),
    _body("a number", b"5", 422, "invalid_argument"),
    _body("bad UTF-8", b'{"niche": "\xff\xfe"}', 400, "malformed_json"),
    _body("deeply nested", b"[" * 30_000 + b"]" * 30_000, 400, "malformed_json"),
    _body("digits without end", b'{"content_count": ' + b"9" * 20_000 + b"}", 400, "malformed_json"),
    _body(
        "a form",
        b"niche=tech_reviews",
        415,
        "unsupported_media_type",
        {"Content-Type": "application/x-www-form-urlencoded"},
    ),
    _body("plain text", b"niche", 415, "unsupported_media_type", {"Content-Type": "text/plain"}),
    _body("no content type", b"{}", 415, "unsupported_media_type", {"Content-Type": ""}),
    _body("oversized", b'{"niche": "' + b"x" * 70_000 + b'"}', 413, "body_too_large"),
    Bad(name="empty body", path="/auth/register", status=422, code="invalid_argument", headers=JSON),
]
ACCOUNTS = [
    _register("no address", "email", "invalid_email", email="nobody"),
    _register("empty address", "email", "invalid_email", email=""),
    _register("address number", "email", email=5),
    _register("NUL in address", "email", email="a\0b@example.com"),
    _register("line break in address", "email", "invalid_email", email="a@example.com\r\nBcc: b@example.com"),
    _register("long address", "email", "invalid_email", email="a" * 400 + "@example.com"),
    _register("short password", "password", "invalid_password", password="tulip"),
    _register("long password", "password", "invalid_password", password="x" * 129),
    _register("common password", "password", "weak_password", password="password123"),
    _register("password is the address", "password", "weak_password", password="nobody@example.com"),
    _register("NUL in password", "password", password="tulip\0anvil-rowing"),
    _register("password null", "password", password=None),
    _register("NUL in name", "name", name="Mi\0na"),
    _register("long name", "name", name="x" * 5_000),
    _register("lone surrogate in name", "name", name="\udfff"),
    _register("unknown field", "role", role="admin"),
    Bad(
        name="no password",
        path="/auth/login",
        status=422,
        code="invalid_argument",
        wrong="password",
        json={"email": "a@example.com"},
    ),
    Bad(
        name="NUL in login",
        path="/auth/login",
        status=422,
        code="invalid_argument",
        wrong="email",
        json={"email": "\0", "password": PASSWORD},
    ),
    Bad(
        name="wrong password",
        path="/auth/login",
        status=401,
        code="invalid_credentials",
        json=WRONG,
    ),
    Bad(
        name="wrong password for a token",
        path="/auth/token",
        status=401,
        code="invalid_credentials",
        json=WRONG,
    ),
]
ADDRESSES = [
    _get("job id is no UUID", "/jobs/nonsense", 404, "job_not_found"),
    _get("job id with NUL", "/jobs/%00", 404, "job_not_found"),
    _get("job id with bad UTF-8", "/jobs/%ff%fe/status", 404, "job_not_found"),
    _get("unknown job", f"/jobs/{NO_JOB}", 404, "job_not_found"),
    _get("history of an unknown job", f"/jobs/{NO_JOB}/history", 404, "job_not_found"),
    _get("events of an unknown job", f"/jobs/{NO_JOB}/events", 404, "job_not_found"),
    Bad(name="cancel of no UUID", path="/jobs/nonsense/cancel", status=404, code="job_not_found"),
    Bad(name="retry of an unknown job", path=f"/jobs/{NO_JOB}/retry", status=404, code="job_not_found"),
    Bad(name="session id is no UUID", path="/auth/sessions/1", status=404, code="session_not_found", method="DELETE"),
    _get("platform with NUL", "/connections/a%00b", 404, "platform_not_found"),
    Bad(name="disconnect of NUL", path="/connections/%00/disconnect", status=404, code="platform_not_found"),
    _get("unknown path", "/nothing", 404, "not_found"),
    _get("path with dots", "/../../etc/passwd", 404, "not_found"),
    Bad(name="wrong method", path="/demo/status", status=405, code="method_not_allowed", method="PUT"),
    Bad(name="wrong method of a job", path=f"/jobs/{NO_JOB}", status=405, code="method_not_allowed", method="DELETE"),
    _get("page size 0", "/interactions?page_size=0", 422, "invalid_argument", "page_size"),
    _get("page size negative", "/jobs?page_size=-1", 422, "invalid_argument", "page_size"),
    _get("page size no number", "/content?page_size=ten", 422, "invalid_argument", "page_size"),
    _get("page token nonsense", "/interactions?page_token=nonsense", 422, "invalid_argument", "page_token"),
    _get("page token of base64", "/jobs?page_token=eyJhIjoxfQ", 422, "invalid_argument", "page_token"),
    _get("page token with NUL", "/content?page_token=%00", 422, "invalid_argument", "page_token"),
    _get("page token of bad UTF-8", "/content?page_token=%ff", 422, "invalid_argument", "page_token"),
    _get("unknown status", "/jobs?status=lost", 422, "invalid_argument", "status.0"),
    _get("kind with NUL", "/jobs?kind=%00", 422, "invalid_argument", "kind.0"),
    _get("unknown sentiment", "/interactions?sentiment=angry", 422, "invalid_argument", "sentiment"),
    _get("unknown kind", "/interactions?kind=telegram", 422, "invalid_argument", "kind"),
    _get("unknown order", "/content?order_by=oldest", 422, "invalid_argument", "order_by"),
    _get("needs_reply maybe", "/interactions?needs_reply=maybe", 422, "invalid_argument", "needs_reply"),
    _get("content id with NUL", "/interactions?content_id=%00", 422, "invalid_argument", "content_id"),
    _get("no stream accepted", "/events", 406, "not_acceptable", Accept="application/json"),
]
HEADERS = [
    Bad(name="key too long", headers={"Idempotency-Key": "k" * 256}, json={}, **KEY_INVALID),
    Bad(name="key empty", headers={"Idempotency-Key": ""}, json={}, **KEY_INVALID),
    Bad(name="key with spaces", headers={"Idempotency-Key": "a b"}, **KEY_INVALID),
    Bad(name="from another site", headers={"Origin": "https://evil.example"}, json={}, **FOREIGN),
    Bad(name="fetched by another site", headers={"Sec-Fetch-Site": "cross-site"}, **FOREIGN),
]
PRIVATE = ("/demo/status", "/jobs", "/events", "/interactions", "/auth/me", "/auth/sessions")
TOKENS = {
    "none": {},
    "empty cookie": {"Cookie": "session="},
    "garbage cookie": {"Cookie": "session=garbage"},
    "garbage of the right shape": {"Cookie": f"session=rpv_{'A' * 43}"},
    "cookie with strange characters": {"Cookie": 'session="\\000\\377"; session=x'},
    "long cookie": {"Cookie": f"session={'x' * 5_000}"},
    "garbage bearer": {"Authorization": "Bearer garbage"},
    "bearer of the right shape": {"Authorization": f"Bearer rpv_{'A' * 43}"},
    "empty bearer": {"Authorization": "Bearer"},
    "signed token": {"Authorization": "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9."},
    "basic": {"Authorization": "Basic YWRtaW46YWRtaW4="},
    "forged identity": {"X-User-Id": "1", "repruv-user": "admin"},
}


@pytest.fixture(scope="module")
async def target_user(running: System) -> AsyncIterator[User]:
    """One user for all bad requests, whose demo mode none of them changes."""
    user = await User.register(running.url)
    yield user
    assert (await user.get("/demo/status")).json()["version"] == 0
    await user.close()


@pytest.mark.parametrize("bad", [*ENABLE, *BODIES, *ACCOUNTS, *ADDRESSES, *HEADERS], ids=lambda bad: bad.name)
async def test_bad_request_names_the_invalid_field(bad: Bad, target_user: User) -> None:
    options: dict[str, Any] = {"headers": bad.headers}
    if bad.json is not None:
        options |= {"content": _ascii_json(bad.json), "headers": {**JSON, **bad.headers}}
    if bad.content is not None:
        options["content"] = bad.content
    answer = await target_user.http.request(bad.method, f"/api/v1{bad.path}", **options)
    problem = _must_be_problem(answer, bad.status, bad.code)
    if bad.wrong:
        assert bad.wrong in [error["field"] for error in problem["errors"]], problem


@pytest.mark.parametrize("headers", TOKENS.values(), ids=TOKENS)
async def test_nobody_is_signed_in(headers: dict[str, str], running: System) -> None:
    async with httpx.AsyncClient(base_url=f"{running.url}/api/v1") as client:
        for path in PRIVATE:
            answer = await client.get(path, headers=headers)
            problem = _must_be_problem(answer, 401)
            assert problem["code"] in {"unauthenticated", "session_invalid"}, path
            assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("size", [20_000, 70_000, 300_000])
async def test_huge_headers(size: int, target_user: User) -> None:
    answer = await target_user.get("/demo/status", headers={"X-Filler": "x" * size})
    assert answer.status_code in {200, 400, 431}


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"BREW /api/v1/demo/status HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GARBAGE\r\n\r\n",
        b"GET /api/v1/demo/status HTTP/9.9\r\n\r\n",
        b"POST /api/v1/demo/enable HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /api/v1/demo/enable HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: \x00\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
    ids=["made-up method", "no HTTP", "unknown version", "negative length", "two lengths", "NUL in a header", "TLS"],
)
async def test_broken_http(request_bytes: bytes, running: System) -> None:
    url = httpx.URL(running.url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(request_bytes)
    writer.write_eof()
    async with asyncio.timeout(60):  # less than a gateway keeps an idle connection
        answer = await reader.read()
    writer.close()
    assert not answer or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 505")), answer
    assert b"Traceback" not in answer


async def test_processes_have_lived_through_all_this(running: System, target_user: User) -> None:
    assert await running.is_healthy()
    assert (await target_user.get("/demo/status")).status_code == 200


def _must_be_problem(answer: httpx.Response, status: int, code: str = "") -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert {"type", "title", "status", "detail", "instance", "code", "errors", "request_id"} == problem.keys()
    assert problem["status"] == status
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert problem["detail"]
    assert "Traceback" not in answer.text
    if code:
        assert problem["code"] == code, problem
    return problem


def _ascii_json(body: object) -> bytes:
    """Write JSON in which every character survives that a client could send, lone surrogates too."""
    return json.dumps(body, ensure_ascii=True).encode()
