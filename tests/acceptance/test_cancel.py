"""A cancelled enable leaves nothing behind."""

from __future__ import annotations

from tests.acceptance.streams import Stream
from tests.acceptance.system import System
from tests.acceptance.users import User

OPTIONS = {"niche": "tech_reviews"}
LARGE = {**OPTIONS, "interaction_count": 100_000}
"""Its job takes so long that a cancel arrives before its end, on a busy machine and without NATS too."""


async def test_cancel_while_enabling_leaves_nothing(system: System, user: User) -> None:
    async with Stream(user) as stream:
        job_id = await user.enable(LARGE)
        await user.wait_for_interactions(300)
        answer = await user.post(f"/jobs/{job_id}/cancel")
        assert answer.status_code == 202
        assert answer.json()["status"] == "cancelling"
        await stream.tells_end(job_id, "cancelled")
        await user.wait_for_status("disabled")
        await stream.has("demo", lambda data: data["status"] == "disabled" and data["version"] > 0)
    assert stream.transitions(job_id) == ["pending", "running", "cancelling", "cancelled"]
    stream.must_be_gap_free()
    await _must_have_nothing(system, user)


async def test_cancel_before_a_worker_has_it_is_done_at_once(system: System, user: User) -> None:
    async with system.paused_kinds("demo.enable"):
        job_id = await user.enable(OPTIONS)
        answer = await user.post(f"/jobs/{job_id}/cancel")
        assert (answer.status_code, answer.json()["status"]) == (202, "cancelled")
        await user.wait_for_status("disabled")
        again = await user.post(f"/jobs/{job_id}/cancel")
        assert (again.status_code, again.json()["status"]) == (202, "cancelled")
    await _must_have_nothing(system, user)


async def test_cancel_arrives_without_nats(system: System, user: User) -> None:
    async with system.down("nats"):
        job_id = await user.enable(LARGE)
        await user.wait_for_interactions(200)
        assert (await user.post(f"/jobs/{job_id}/cancel")).status_code == 202
        job = await user.wait_for_job(job_id, "cancelled", "completed")
        await user.wait_for_status("disabled" if job["status"] == "cancelled" else "enabled")
    assert job["status"] == "cancelled"
    await _must_have_nothing(system, user)


async def test_after_a_cancel_both_a_new_wish_and_a_retry_are_possible(user: User) -> None:
    cancelled = await user.enable({**OPTIONS, "interaction_count": 4_000})
    assert (await user.post(f"/jobs/{cancelled}/cancel")).status_code == 202
    await user.wait_for_job(cancelled, "cancelled")
    await user.wait_for_status("disabled")

    assert (await user.post(f"/jobs/{cancelled}/retry")).status_code == 202
    await user.wait_for_job(cancelled, "completed")
    status = await user.wait_for_status("enabled")
    assert (status["job_id"], status["stats"]["interactions_written"]) == (cancelled, 4_000)

    await user.disable()
    await user.wait_for_status("disabled")
    await user.enable(OPTIONS)
    await user.wait_for_status("enabled")


async def test_cancelled_disable_fails_and_can_be_retried(system: System, user: User) -> None:
    await user.enable({**OPTIONS, "interaction_count": 4_000})
    await user.wait_for_status("enabled")
    job_id = await user.disable()
    await user.wait_for_job(job_id, "running")
    assert (await user.post(f"/jobs/{job_id}/cancel")).status_code == 202
    await user.wait_for_job(job_id, "cancelled")
    status = await user.wait_for_status("failed")
    assert status["error"]["code"] == "cancelled"
    assert (await user.get("/interactions")).json()["interactions"] == []

    assert (await user.post(f"/jobs/{job_id}/retry")).status_code == 202
    status = await user.wait_for_status("disabled")
    assert (status["stats"]["removed_content"], status["stats"]["removed_interactions"]) == (60, 4_000)
    await _must_have_nothing(system, user)


async def _must_have_nothing(system: System, user: User) -> None:
    rows = await system.query(
        "SELECT (SELECT count(*) FROM demo.content WHERE owner_id = %s) AS content,"
        " (SELECT count(*) FROM demo.interactions WHERE owner_id = %s) AS interactions",
        user.user_id,
        user.user_id,
    )
    assert rows == [{"content": 0, "interactions": 0}]
