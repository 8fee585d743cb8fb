"""Reads of pages and pollers, one at a time on an idle system."""

from __future__ import annotations

from bench import load
from bench.samples import Row, Section
from bench.system import System

USERS, COUNT = 20, 400
DEMO_OPTIONS = {"profile_type": "creator", "niche": "travel"}  # 60 items and 2,000 interactions by default


async def run(system: System) -> list[Section]:
    """Read the pages of users with the default data."""
    users = await system.sign_up(USERS)
    jobs = [await system.enable(user, DEMO_OPTIONS) for user in users]
    await system.quiet()

    async def read(path: str, *, count: int = COUNT, tag: str = "") -> list[float]:
        async def get(index: int) -> None:
            user, job = users[index % USERS], jobs[index % USERS]
            headers = {"If-None-Match": tag} if tag else {}
            expected = 304 if tag else 200
            address = f"/api/v1{path}".format(job_id=job)
            await system.http.request("GET", address, expected=expected, cookie=user.cookie, headers=headers)

        return await load.each(get, count=count, at_once=1)

    await read("/auth/me", count=USERS)  # fills the session cache of the gateway
    rows = [
        Row(name="GET /metrics/dashboard, not remembered", durations=await read("/metrics/dashboard", count=USERS)),
        Row(name="GET /metrics/dashboard, remembered", durations=await read("/metrics/dashboard")),
        Row(name="GET /demo/status", durations=await read("/demo/status")),
        Row(name="GET /jobs/{id}", durations=await read("/jobs/{job_id}")),
        Row(name="GET /jobs/{id}, 304", durations=await read("/jobs/{job_id}", tag="*")),
        Row(name="GET /interactions", durations=await read("/interactions")),
    ]
    return [Section(title=f"Reads, one at a time, {USERS} users with 2,000 interactions each", rows=rows)]
