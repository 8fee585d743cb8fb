"""A job that fails permanently: the page shows it, and the user can dismiss it, retry it, or enable again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from tests.acceptance.streams import Stream
from tests.acceptance.system import System
from tests.acceptance.users import User

OPTIONS = {"niche": "tech_reviews"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A user whose demo mode failed, and the failed job."""

    user: User
    job_id: str


@pytest.fixture(scope="module")
async def failures(running: System) -> AsyncIterator[list[Failure]]:
    """Two users with a failed enable and one with a failed disable. The workers work again."""
    users = [await User.register(running.url) for _ in range(3)]
    await users[2].enable(OPTIONS)
    await users[2].wait_for_status("enabled")
    async with running.workers(DEMO_FAIL_HANDLERS="all"):
        failed = [Failure(user=user, job_id=await user.enable(OPTIONS)) for user in users[:2]]
        failed.append(Failure(user=users[2], job_id=await users[2].disable()))
        for failure in failed:
            await failure.user.wait_for_job(failure.job_id, "failed", seconds=60)
            await failure.user.wait_for_status("failed")
    yield failed
    for user in users:
        await user.close()


async def test_failure_is_shown_after_all_attempts(failures: list[Failure], system: System) -> None:
    user, job_id = failures[0].user, failures[0].job_id
    job = (await user.get(f"/jobs/{job_id}")).json()
    assert (job["status"], job["attempt"], job["max_attempts"]) == ("failed", 3, 3)
    assert job["error"]["code"] == "demo_handler_failed"
    assert (job["retryable"], job["cancellable"]) == (True, False)

    status = (await user.get("/demo/status")).json()
    assert (status["status"], status["demo_mode"], status["job_id"]) == ("failed", False, job_id)
    assert status["error"] == job["error"]
    assert status["message"] == job["error"]["message"]
    assert (await user.get("/interactions")).json()["interactions"] == []

    history = (await user.get(f"/jobs/{job_id}/history")).json()
    assert [attempt["outcome"] for attempt in history["attempts"]] == ["failed"] * 3
    states = [transition["status"] for transition in history["transitions"]]
    assert states == ["pending", "running", "retrying", "running", "retrying", "running", "failed"]


async def test_retry_of_the_failed_job_completes(failures: list[Failure], system: System) -> None:
    user, job_id = failures[0].user, failures[0].job_id
    async with Stream(user) as stream:
        answer = await user.post(f"/jobs/{job_id}/retry")
        assert (answer.status_code, answer.json()["status"]) == (202, "pending")
        await stream.has("demo", lambda data: data["status"] == "enabling")
        await stream.tells_end(job_id, "completed")
        status = await user.wait_for_status("enabled")
    assert (status["job_id"], status["error"]) == (job_id, None)
    assert (await user.get("/metrics/dashboard")).json()["interaction_count"] == 2000
    stream.must_be_gap_free()


async def test_dismiss_leads_to_disabled_and_a_late_retry_changes_nothing(
    failures: list[Failure], system: System
) -> None:
    user, job_id = failures[1].user, failures[1].job_id
    answer = await user.post("/demo/dismiss")
    assert answer.status_code == 200
    assert (answer.json()["status"], answer.json()["error"]) == ("disabled", None)
    assert (await user.post("/demo/dismiss")).status_code == 200

    assert (await user.post(f"/jobs/{job_id}/retry")).status_code == 202
    job = await user.wait_for_job(job_id, "cancelled")
    assert (job["cancel_reason"], job["retryable"]) == ("superseded", False)
    assert (await user.get("/demo/status")).json()["status"] == "disabled"


async def test_failed_disable_keeps_everything_hidden_until_it_is_retried(
    failures: list[Failure], system: System
) -> None:
    user, job_id = failures[2].user, failures[2].job_id
    status = (await user.get("/demo/status")).json()
    assert (status["status"], status["error"]["code"]) == ("failed", "demo_handler_failed")
    assert (await user.get("/interactions")).json()["interactions"] == []
    assert (await user.get("/metrics/dashboard")).json()["interaction_count"] == 0
    assert (await user.post(f"/jobs/{job_id}/retry")).status_code == 202
    status = await user.wait_for_status("disabled")
    assert status["stats"]["removed_interactions"] == 2000
