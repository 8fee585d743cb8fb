"""Identity: cookies and bearer tokens, objects of other users, ended sessions, and the older paths."""

from __future__ import annotations

import secrets
from typing import Any

import httpx

from tests.acceptance import waiting
from tests.acceptance.conftest import NewUser
from tests.acceptance.streams import Stream
from tests.acceptance.system import System
from tests.acceptance.users import PASSWORD, User

OPTIONS = {"niche": "tech_reviews", "interaction_count": 300}
SOON = 30.0
"""Generous, but less than a stream takes to notice on its own that its session has ended."""


async def test_older_paths_answer_like_their_twins(user: User) -> None:
    answer = await user.post("/api/demo/enable", json=OPTIONS)
    assert answer.status_code == 202
    job_id = answer.json()["job_id"]
    await user.wait_for_job(job_id, "completed")
    await user.wait_for_status("enabled")
    for path in ("/demo/status", f"/jobs/{job_id}", f"/jobs/{job_id}/status", "/jobs", f"/jobs/{job_id}/history"):
        new, old = await user.get(f"/api/v1{path}"), await user.get(f"/api{path}")
        assert (old.status_code, old.json()) == (new.status_code, new.json())
        assert _headers(old) == _headers(new)
    for path in ("/demo/enable", "/demo/dismiss", f"/jobs/{job_id}/cancel", f"/jobs/{job_id}/retry"):
        new, old = await user.post(f"/api/v1{path}"), await user.post(f"/api{path}")
        assert old.status_code == new.status_code == 409
        assert old.json()["code"] == new.json()["code"]
    assert (await user.post("/api/demo/disable")).status_code == 202
    await user.wait_for_status("disabled")


async def test_bearer_token_works_like_the_cookie(system: System, user: User) -> None:
    answer = await user.post("/auth/token", json={"email": user.email, "password": PASSWORD})
    assert answer.status_code == 200
    assert "set-cookie" not in answer.headers
    headers = {"Authorization": f"Bearer {answer.json()['token']}"}
    async with httpx.AsyncClient(base_url=f"{system.url}/api/v1", headers=headers) as client:
        assert (await client.get("/auth/me")).json() == (await user.get("/auth/me")).json()
        assert (await client.post("/demo/enable", json=OPTIONS)).status_code == 202
        status = await user.wait_for_status("enabled")
        await user.wait_for_job(status["job_id"], "completed")
        assert (await client.get("/demo/status")).json() == (await user.get("/demo/status")).json()
        assert len((await client.get("/interactions?page_size=100")).json()["interactions"]) == 100


async def test_request_id_goes_in_and_comes_out(user: User) -> None:
    certificate = await user.get("/auth/me", headers={"X-Request-Id": "my-request-1"})
    assert certificate.headers["x-request-id"] == "my-request-1"
    problem = await user.get("/nothing", headers={"X-Request-Id": "my-request-2"})
    assert problem.json()["request_id"] == problem.headers["x-request-id"] == "my-request-2"
    fresh = await user.get("/auth/me")
    assert fresh.headers["x-request-id"] not in {"", "my-request-1"}
    strange = await user.get("/auth/me", headers={"X-Request-Id": "a b\tc"})
    assert strange.headers["x-request-id"] != "a b\tc"


async def test_what_belongs_to_another_is_not_found(new_user: NewUser) -> None:
    owner, other = await new_user(), await new_user()
    job_id = await owner.enable(OPTIONS)
    for path in ("", "/status", "/history", "/events"):
        answer = await other.get(f"/jobs/{job_id}{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "job_not_found")
    for path in ("/cancel", "/retry"):
        answer = await other.post(f"/jobs/{job_id}{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "job_not_found")
    (session,) = (await owner.get("/auth/sessions")).json()["sessions"]
    answer = await other.http.delete(f"/api/v1/auth/sessions/{session['session_id']}")
    assert (answer.status_code, answer.json()["code"]) == (404, "session_not_found")
    assert (await owner.get("/auth/me")).status_code == 200
    await owner.wait_for_status("enabled")


async def test_logout_ends_the_session_and_its_stream_at_once(user: User) -> None:
    other = await user.sign_in_again()
    async with Stream(user, reconnects=False) as stream, Stream(other) as untouched:
        cookie = _cookie(user)
        assert (await user.post("/auth/logout")).status_code == 204
        bye = await stream.has("bye", seconds=SOON)
        assert bye.data == {"reason": "session_expired"}
        await waiting.until(_ended(stream), "the stream has ended", seconds=SOON)
        assert "session" not in user.http.cookies
        stolen = await user.get("/auth/me", headers=cookie)
        assert stolen.status_code == 401
        assert (await other.get("/auth/me")).status_code == 200
        assert not [event for event in untouched.events if event.name == "bye"]
    await other.close()


async def test_sessions_can_be_revoked_from_elsewhere(user: User) -> None:
    other = await user.sign_in_again()
    sessions = (await user.get("/auth/sessions")).json()["sessions"]
    (other_session,) = [session for session in sessions if not session["current"]]
    async with Stream(other, reconnects=False) as stream:
        answer = await user.http.delete(f"/api/v1/auth/sessions/{other_session['session_id']}")
        assert answer.status_code == 204
        await stream.has("bye", seconds=SOON)
    assert (await other.get("/demo/status")).status_code == 401
    assert (await user.get("/demo/status")).status_code == 200
    await other.close()


async def test_logout_holds_without_nats(system: System, user: User) -> None:
    async with system.down("nats"):
        cookie = _cookie(user)
        assert (await user.get("/auth/me")).status_code == 200
        assert (await user.post("/auth/logout")).status_code == 204
        assert (await user.get("/auth/me", headers=cookie)).status_code == 401


async def test_demo_mode_is_left_alone_by_a_logout(user: User) -> None:
    """The user may close the tab or sign out; the job continues, and its result is there at the next visit."""
    job_id = await user.enable(OPTIONS)
    await user.post("/auth/logout")
    back = await user.sign_in_again()
    await back.wait_for_job(job_id, "completed")
    await back.wait_for_status("enabled")
    await back.close()


async def test_me_has_the_redirect_path(user: User) -> None:
    assert (await user.get("/auth/me")).json()["redirect_path"] == "/settings/demo-mode"
    await user.enable(OPTIONS)
    await user.wait_for_status("enabled")
    assert (await user.get("/auth/me")).json()["redirect_path"] == "/dashboard"


async def test_passwords_and_tokens_are_never_shown(user: User) -> None:
    secret = f"{secrets.token_urlsafe(12)}-{PASSWORD}"
    wrong = await user.post("/auth/login", json={"email": user.email, "password": secret})
    assert wrong.status_code == 401
    assert secret not in wrong.text
    invalid = await user.post("/auth/login", json={"email": user.email, "password": [secret]})
    assert invalid.status_code == 422
    assert secret not in invalid.text


def _cookie(user: User) -> dict[str, str]:
    return {"Cookie": f"session={user.http.cookies['session']}"}


def _headers(answer: httpx.Response) -> dict[str, str]:
    return {name: answer.headers[name] for name in ("content-type", "cache-control", "etag") if name in answer.headers}


def _ended(stream: Stream) -> Any:
    async def probe() -> bool:
        return stream.has_ended

    return probe
