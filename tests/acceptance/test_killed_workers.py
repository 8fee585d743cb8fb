"""A worker is killed during a large job: the job continues, and no user sees an inconsistent state."""

from __future__ import annotations

import signal
import time
from typing import Any

from tests.acceptance import waiting
from tests.acceptance.consistency_watch import ConsistencyWatch
from tests.acceptance.streams import Stream
from tests.acceptance.system import WORKER, System
from tests.acceptance.users import User

LARGE = 100_000
SMALL = 10_000
"""A hundred batches with a pause after each: several seconds, on a busy machine too."""
OPTIONS = {"niche": "tech_reviews", "interaction_count": SMALL}


async def test_another_worker_resumes(system: System, user: User) -> None:
    """Large enough, without pauses, to kill a worker during the job. It starts again with the settings of the others."""
    async with (
        system.workers(DEMO_BATCH_PAUSE_MS="0"),
        Stream(user) as stream,
        ConsistencyWatch(user, interactions=LARGE) as watch,
    ):
        job_id = await user.enable({**OPTIONS, "interaction_count": LARGE})
        written = await user.wait_for_interactions(10_000)
        (first,) = await _attempts(user, job_id)
        index = system.worker_index(first["worker"])
        await system.kill(WORKER, index)
        killed_at = time.monotonic()
        second = await waiting.until(lambda: _attempt(user, job_id, 2), "there is a second attempt")
        print(
            f"\n  killed at {written} interactions; the new attempt was seen {time.monotonic() - killed_at:.2f} s later"
        )
        await stream.tells_end(job_id, "completed", seconds=60)
        print(f"  completed {time.monotonic() - killed_at:.2f} s after the kill")
        await user.wait_for_status("enabled")

    assert first["worker"] != second["worker"]
    await _must_have_resumed(user, job_id, stream)
    stream.must_be_gap_free()
    stream.must_never_fall_back()
    assert watch.statuses == ["disabled", "enabling", "enabled"]
    await _must_have_exactly(system, user, LARGE)


async def test_job_waits_for_a_worker_and_resumes_where_it_stopped(system: System, user: User) -> None:
    async with system.down(WORKER, 1), Stream(user) as stream, ConsistencyWatch(user, interactions=SMALL):
        job_id = await user.enable(OPTIONS)
        await user.wait_for_interactions(1_000)
        await system.kill(WORKER, 0)
        job = await user.wait_for_job(job_id, "retrying")
        assert job["attempt"] == 1
        status = (await user.get("/demo/status")).json()
        assert (status["status"], status["job_status"]) == ("enabling", "retrying")
        written_before = status["stats"]["interactions_written"]
        assert 1_000 <= written_before < SMALL

        started_at = time.monotonic()
        await system.start(WORKER, 0)
        await waiting.until(lambda: _attempt(user, job_id, 2), "there is a second attempt")
        print(
            f"\n  {written_before} kept; the new attempt started {time.monotonic() - started_at:.2f} s after a worker"
        )
        await stream.tells_end(job_id, "completed", seconds=60)
        await user.wait_for_status("enabled")

    await _must_have_resumed(user, job_id, stream)
    stream.must_be_gap_free()
    await _must_have_exactly(system, user, SMALL)


async def test_zombie_changes_nothing(system: System, user: User) -> None:
    """A worker paused for longer than its lease loses the job: after it resumes, its writes are fenced off."""
    async with Stream(user) as stream, ConsistencyWatch(user, interactions=SMALL):
        job_id = await user.enable(OPTIONS)
        await user.wait_for_interactions(1_000)
        (first,) = await _attempts(user, job_id)
        index = system.worker_index(first["worker"])
        system.signal(WORKER, signal.SIGSTOP, index)
        try:
            second = await waiting.until(lambda: _attempt(user, job_id, 2), "there is a second attempt")
            await user.wait_for_interactions(2_000)
        finally:
            system.signal(WORKER, signal.SIGCONT, index)
        await stream.tells_end(job_id, "completed", seconds=60)
        await user.wait_for_status("enabled")
    assert first["worker"] != second["worker"]
    await _must_have_resumed(user, job_id, stream)
    stream.must_be_gap_free()
    await _must_have_exactly(system, user, SMALL)


async def test_disable_resumes_too(system: System, user: User) -> None:
    await user.enable({**OPTIONS, "interaction_count": SMALL})
    await user.wait_for_status("enabled")
    async with Stream(user) as stream:
        job_id = await user.disable()
        await waiting.until(lambda: _removed(user, 1_000), "1,000 interactions removed")
        index = system.worker_index((await _attempts(user, job_id))[0]["worker"])
        await system.kill(WORKER, index)
        await stream.tells_end(job_id, "completed", seconds=60)
        await system.start(WORKER, index)
    status = await user.wait_for_status("disabled")
    assert (status["stats"]["removed_content"], status["stats"]["removed_interactions"]) == (60, SMALL)
    await _must_have_resumed(user, job_id, stream)
    stream.must_be_gap_free()
    await _must_have_exactly(system, user, 0, content=0)


async def test_stopped_worker_hands_its_job_over_at_once(system: System, user: User) -> None:
    """On SIGTERM the job finishes within the grace period or is released; no lease has to expire first."""
    async with Stream(user) as stream:
        job_id = await user.enable(OPTIONS)
        await user.wait_for_interactions(1_000)
        index = system.worker_index((await _attempts(user, job_id))[0]["worker"])
        async with system.down(WORKER, index):
            await stream.tells_end(job_id, "completed", seconds=60)
    assert {attempt["outcome"] for attempt in await _attempts(user, job_id)} <= {"released", "completed"}
    stream.must_be_gap_free()
    await _must_have_exactly(system, user, SMALL)


async def _attempts(user: User, job_id: str) -> list[dict[str, Any]]:
    attempts: list[dict[str, Any]] = (await user.get(f"/jobs/{job_id}/history")).json()["attempts"]
    return attempts


async def _attempt(user: User, job_id: str, number: int) -> dict[str, Any] | None:
    return next((attempt for attempt in await _attempts(user, job_id) if attempt["attempt"] == number), None)


async def _must_have_resumed(user: User, job_id: str, stream: Stream) -> None:
    """Assert that each attempt but the last one crashed. A live worker that gets no processor time loses its lease too."""
    *crashed, last = [attempt["outcome"] for attempt in await _attempts(user, job_id)]
    assert crashed and set(crashed) == {"crashed"}
    assert last == "completed"
    again = ["retrying", "running"] * len(crashed)
    assert stream.transitions(job_id) == ["pending", "running", *again, "completed"]


async def _removed(user: User, at_least: int) -> bool:
    stats = (await user.get("/demo/status")).json()["stats"]
    return bool(stats["removed_interactions"] >= at_least)


async def _must_have_exactly(system: System, user: User, interactions: int, *, content: int = 60) -> None:
    """Count the rows in the database; assert that each position exists once."""
    for table, expected in (("interactions", interactions), ("content", content)):
        counted = await system.query(
            "SELECT count(*) AS rows, count(DISTINCT position) AS positions, count(DISTINCT generation) AS generations"
            f" FROM demo.{table} WHERE owner_id = %s",
            user.user_id,
        )
        assert counted == [{"rows": expected, "positions": expected, "generations": min(1, expected)}]
