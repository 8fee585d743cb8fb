"""The older paths, and a job that continues after its owner has signed out."""

from __future__ import annotations

import httpx

from tests.acceptance.users import User

OPTIONS = {"niche": "tech_reviews", "interaction_count": 300}


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


async def test_demo_mode_is_left_alone_by_a_logout(user: User) -> None:
    """The user may close the tab or sign out; the job continues, and its result is there at the next visit."""
    job_id = await user.enable(OPTIONS)
    await user.post("/auth/logout")
    back = await user.sign_in_again()
    await back.wait_for_job(job_id, "completed")
    await back.wait_for_status("enabled")
    await back.close()


def _headers(answer: httpx.Response) -> dict[str, str]:
    return {name: answer.headers[name] for name in ("content-type", "cache-control", "etag") if name in answer.headers}
