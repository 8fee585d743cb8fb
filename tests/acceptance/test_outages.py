"""Each part of the system stops during a job and returns: the job completes, and the page misses no event."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack

import pytest

from tests.acceptance.consistency_watch import ConsistencyWatch
from tests.acceptance.streams import Stream
from tests.acceptance.system import WORKER, System
from tests.acceptance.users import User

OPTIONS = {"niche": "fitness"}
PARTS = ("gateway", "jobs", "demo", "auth", "nats", "postgres")


@pytest.mark.parametrize("method", ["stopped", "killed"])
@pytest.mark.parametrize("part", PARTS)
async def test_job_and_stream_survive(part: str, method: str, system: System, user: User) -> None:
    async with Stream(user) as stream, ConsistencyWatch(user, interactions=2000):
        job_id = await user.enable(OPTIONS)
        await user.wait_for_interactions(200)
        gone_at = time.monotonic()
        await (system.kill(part) if method == "killed" else system.stop(part))
        await system.start(part)
        back_at = time.monotonic()
        await stream.tells_end(job_id, "completed", seconds=45)
        print(
            f"\n  {part} {method}: away {back_at - gone_at:.1f} s, end shown {time.monotonic() - back_at:.1f} s after"
        )
        await user.wait_for_status("enabled")
        await stream.has("demo", lambda data: data["status"] == "enabled")
        if part == "gateway":
            # A gateway that stops sends events until its streams end, so the job's end may arrive before the disconnect.
            await stream.reconnects()
    # The worker and its attempt survive the outage.
    assert stream.transitions(job_id) == ["pending", "running", "completed"]
    stream.must_be_gap_free()
    stream.must_never_fall_back()


async def test_nats_is_away_all_the_time(system: System, user: User) -> None:
    async with system.down("nats"), Stream(user) as stream, ConsistencyWatch(user, interactions=2000):
        job_id = await user.enable(OPTIONS)
        await stream.tells_end(job_id, "completed")
        await stream.has("demo", lambda data: data["status"] == "enabled")
        await user.wait_for_status("enabled")
    assert stream.transitions(job_id) == ["pending", "running", "completed"]
    stream.must_be_gap_free()
    stream.must_never_fall_back()


async def test_demo_service_is_away_until_the_job_has_ended(system: System, user: User) -> None:
    async with Stream(user) as stream:
        job_id = await user.enable(OPTIONS)
        await user.wait_for_interactions(200)
        async with system.down("demo"):
            answer = await user.get("/demo/status")
            assert answer.status_code == 503
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["code"] == "unavailable"
            assert "retry-after" in answer.headers
            assert (await user.get(f"/jobs/{job_id}")).status_code == 200
            await stream.tells_end(job_id, "completed")
        status = await user.wait_for_status("enabled")
        assert status["stats"]["interactions_written"] == 2000
        await stream.has("demo", lambda data: data["status"] == "enabled")
    stream.must_be_gap_free()


async def test_enable_while_the_jobs_service_is_down(system: System, user: User) -> None:
    async with system.down("jobs"):
        asked_at = time.monotonic()
        answer = await user.post("/demo/enable", json=OPTIONS)
        print(f"\n  without the jobs service: answered in {(time.monotonic() - asked_at) * 1000:.0f} ms")
        assert answer.status_code == 202
        job_id = answer.json()["job_id"]
        status = (await user.get("/demo/status")).json()
        assert (status["status"], status["job_id"], status["job_status"]) == ("enabling", job_id, "pending")
    status = await user.wait_for_status("enabled")
    assert status["job_id"] == job_id
    await user.wait_for_job(job_id, "completed")


async def test_enable_without_a_worker(system: System, user: User) -> None:
    async with Stream(user) as stream:
        async with system.down(WORKER):
            job_id = await user.enable(OPTIONS)
            await stream.has("job", lambda data: data["job_id"] == job_id and data["status"] == "pending")
            assert (await user.get("/demo/status")).json()["job_status"] == "pending"
        await stream.tells_end(job_id, "completed")
    assert stream.transitions(job_id) == ["pending", "running", "completed"]


async def test_job_is_found_again_after_everything_was_killed(system: System, user: User) -> None:
    async with Stream(user) as stream:
        job_id = await user.enable(OPTIONS)
        await user.wait_for_interactions(200)
        for name in ("gateway", "jobs", "demo", "auth", WORKER, "nats", "postgres"):
            await system.kill(name)
        await system.restore()
        await stream.tells_end(job_id, "completed", seconds=45)
        await user.wait_for_status("enabled")
    stream.must_be_gap_free()
    assert (await user.get("/metrics/dashboard")).json()["interaction_count"] == 2000


async def test_nats_returns_without_its_store_under_many_streams(system: System, user: User) -> None:
    async with AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(Stream(user)) for _ in range(8)]
        job_id = await user.enable(OPTIONS)
        await user.wait_for_interactions(200)
        await system.kill("nats")
        await system.erase("nats")
        await system.start("nats")
        for stream in streams:
            await stream.tells_end(job_id, "completed", seconds=45)
        await user.wait_for_status("enabled")
        # A restarted part receives new events over NATS, not only by reading the database.
        again = await user.disable()
        for stream in streams:
            await stream.tells_end(again, "completed", seconds=45)
            assert stream.transitions(job_id) == ["pending", "running", "completed"]
            stream.must_be_gap_free()
            stream.must_never_fall_back()
