"""The main job: demo mode is enabled and disabled again, and the page always shows its state."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from tests.acceptance import waiting
from tests.acceptance.consistency_watch import ConsistencyWatch
from tests.acceptance.streams import Stream
from tests.acceptance.users import User

OPTIONS = {"profile_type": "auto", "niche": "tech_reviews"}
LONGER = {**OPTIONS, "interaction_count": 10_000}
"""For tests that must see the middle of the job, however slowly a busy machine answers."""


async def test_enable_answers_at_once_and_a_job_does_the_work(user: User) -> None:
    asked_at = time.perf_counter()
    answer = await user.post("/demo/enable", json=LONGER)
    print(f"\n  enable answered in {(time.perf_counter() - asked_at) * 1000:.0f} ms")
    assert answer.status_code == 202
    accepted = answer.json()
    assert accepted == {
        "status": "enabling",
        "job_id": accepted["job_id"],
        "message": "Demo mode is being enabled.",
    }
    assert answer.headers["location"] == f"/api/v1/jobs/{accepted['job_id']}"

    status = (await user.get("/demo/status")).json()
    assert (status["status"], status["job_id"]) == ("enabling", accepted["job_id"])
    assert status["job_status"] in {"pending", "running"}

    async def reported() -> dict[str, Any] | None:
        """Return the status once the job has reported progress, which it does after its first rows."""
        status = await user.probe("/demo/status")
        assert status is None or status["status"] == "enabling"
        return status if status and status["progress"] and status["progress"]["total"] else None

    status = await waiting.until(reported, "the job reports progress")
    assert status["job_status"] == "running"
    assert status["progress"]["total"] == 10_000

    statuses = await _follow(user, f"/jobs/{accepted['job_id']}/status")
    assert statuses[-1]["status"] == "completed"
    assert statuses[-1]["progress"]["percent"] == 100
    assert statuses[-1]["result"] == {**statuses[-1]["result"], "content_count": 60, "interaction_count": 10_000}
    assert any(0 < job["progress"]["percent"] < 100 for job in statuses), "the middle was never seen"

    status = await user.wait_for_status("enabled")
    assert status["demo_mode"]
    assert status["profile"]["niche"] == "tech_reviews"
    assert (status["stats"]["content_written"], status["stats"]["interactions_written"]) == (60, 10_000)


async def test_enabled_shows_the_requested_sizes(user: User) -> None:
    await user.enable(OPTIONS)
    await user.wait_for_status("enabled")

    numbers = (await user.get("/metrics/dashboard")).json()
    assert numbers["demo"] is True
    assert (numbers["content_count"], numbers["interaction_count"]) == (60, 2000)
    assert sum(numbers["sentiment"].values()) == 2000
    # Some profiles are commented on, never reviewed.
    assert numbers["average_rating"] is None or 1 <= numbers["average_rating"] <= 5

    content = await user.read_all("/content", "content")
    interactions = await user.read_all("/interactions", "interactions")
    assert len(content) == len({item["content_id"] for item in content}) == 60
    assert len(interactions) == len({item["interaction_id"] for item in interactions}) == 2000
    assert {item["content"]["content_id"] for item in interactions} <= {item["content_id"] for item in content}
    assert sum(item["interaction_count"] for item in content) == 2000
    times = [item["occurred_at"] for item in interactions]
    assert times == sorted(times, reverse=True)


async def test_disable_removes_all_rows_and_reports_the_counts(user: User) -> None:
    await user.enable(OPTIONS)
    await user.wait_for_status("enabled")

    answer = await user.post("/demo/disable")
    assert answer.status_code == 202
    accepted = answer.json()
    assert accepted == {
        "status": "disabling",
        "job_id": accepted["job_id"],
        "message": "Demo mode is being disabled.",
    }
    assert answer.headers["location"] == f"/api/v1/jobs/{accepted['job_id']}"
    assert (await user.get("/interactions")).json()["interactions"] == []

    statuses = await _follow(user, f"/jobs/{accepted['job_id']}/status")
    assert statuses[-1]["status"] == "completed"
    assert statuses[-1]["result"] == {"content_removed": 60, "interactions_removed": 2000}

    status = await user.wait_for_status("disabled")
    assert (status["stats"]["removed_content"], status["stats"]["removed_interactions"]) == (60, 2000)
    assert status["message"] == "Demo mode is disabled: 2,000 interactions, 60 content items removed."
    assert await user.read_all("/content", "content") == []
    assert await user.read_all("/interactions", "interactions") == []
    numbers = (await user.get("/metrics/dashboard")).json()
    assert (numbers["demo"], numbers["content_count"], numbers["interaction_count"]) == (False, 0, 0)


async def test_stream_sends_every_event_once(user: User) -> None:
    async with Stream(user) as stream, ConsistencyWatch(user, interactions=2000) as watch:
        job_id = await user.enable(OPTIONS)
        await stream.tells_end(job_id, "completed")
        await stream.has("demo", lambda data: data["status"] == "enabled")
        await user.wait_for_status("enabled")
    assert stream.transitions(job_id) == ["pending", "running", "completed"]
    stream.must_be_gap_free()
    stream.must_never_fall_back()
    assert watch.statuses[-1] == "enabled"
    assert watch.progress == sorted(watch.progress)


async def _follow(user: User, path: str) -> list[dict[str, Any]]:
    """Poll a job to its end and return the observed states, which must only move forward."""
    order = ["pending", "running", "completed"]
    statuses: list[dict[str, Any]] = []
    async with asyncio.timeout(60):
        while not statuses or statuses[-1]["status"] != "completed":
            answer = await user.get(path)
            assert answer.status_code == 200, answer.text
            job = answer.json()
            if statuses:
                assert order.index(job["status"]) >= order.index(statuses[-1]["status"])
                assert job["version"] >= statuses[-1]["version"]
                assert job["progress"]["percent"] >= statuses[-1]["progress"]["percent"]
            statuses.append(job)
            await asyncio.sleep(0.02)
    return statuses
