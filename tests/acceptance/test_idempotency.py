"""Many requests at once, with one key or without: one job."""

from __future__ import annotations

import asyncio
import secrets

from tests.acceptance.system import System
from tests.acceptance.users import User

OPTIONS = {"niche": "tech_reviews", "interaction_count": 300}


async def test_many_clicks_at_once_make_one_job(system: System, user: User) -> None:
    other = await user.sign_in_again()
    clicks = [owner.post("/demo/enable", json=OPTIONS) for owner in (user, other) for _ in range(5)]
    async with system.paused_kinds("demo.enable"):
        answers = await asyncio.gather(*clicks)
    accepted = [answer for answer in answers if answer.status_code == 202]
    refusals = [answer for answer in answers if answer.status_code != 202]
    assert len(accepted) == 1
    assert {(answer.status_code, answer.json()["code"]) for answer in refusals} == {(409, "demo_enabling")}
    await user.wait_for_status("enabled")
    await _must_have_one_job(system, user, accepted[0].json()["job_id"])
    await other.close()


async def test_same_key_many_times_at_once_gets_one_job(system: System, user: User) -> None:
    other = await user.sign_in_again()
    headers = {"Idempotency-Key": secrets.token_urlsafe(16)}
    clicks = [owner.post("/demo/enable", json=OPTIONS, headers=headers) for owner in (user, other) for _ in range(5)]
    answers = await asyncio.gather(*clicks)
    assert {answer.status_code for answer in answers} == {202}
    (job_id,) = {answer.json()["job_id"] for answer in answers}
    assert sum("idempotency-replayed" in answer.headers for answer in answers) == 9
    await user.wait_for_status("enabled")
    await _must_have_one_job(system, user, job_id)
    await other.close()


async def _must_have_one_job(system: System, user: User, job_id: str) -> None:
    jobs = await system.query("SELECT job_id::text FROM jobs.jobs WHERE owner_id = %s", user.user_id)
    assert jobs == [{"job_id": job_id}]
    rows = await system.query("SELECT count(*) FROM demo.interactions WHERE owner_id = %s", user.user_id)
    assert rows == [{"count": 300}]
