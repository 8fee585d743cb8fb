"""One jobs replica at a time is frozen: workers and callers fail over to the other one, and no running job starts over."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dev.launcher.stack import Stack
from tests.acceptance import invariants
from tests.acceptance.system import WORKER, System
from tests.acceptance.users import User

FREEZES = 5
FROZEN_SECONDS = 6.0
"""Longer than two leases."""
BETWEEN_SECONDS = 2.0
LONG = {"content_count": 1, "interaction_count": 15_000}
SHORT = {"content_count": 1, "interaction_count": 60}


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[System]:
    """Two jobs replicas and two workers, whose large jobs take about a minute."""
    print(f"\nlines of all processes: {tmp_path / 'log'}")
    variables = {
        "PASSWORD_MEMORY_KIB": "1024",
        "REGISTRATIONS_PER_ADDRESS": "1000000",
        "DEMO_BATCH_PAUSE_MS": "300",
        "WORKER_CONCURRENCY": "6",
    }
    stack = Stack(tmp_path / "data", scale={"jobs": 2, WORKER: 2}, env=variables, log=tmp_path / "log")
    async with System(stack) as system:
        yield system


@pytest.mark.timeout(300)
async def test_no_job_starts_over_while_one_replica_is_frozen(system: System) -> None:
    owners = [await User.register(system.url) for _ in range(6)]
    bystanders = [await User.register(system.url) for _ in range(3)]
    long_jobs = [await owner.enable(LONG) for owner in owners]
    for owner, job_id in zip(owners, long_jobs, strict=True):
        await owner.wait_for_job(job_id, "running")
    stop = asyncio.Event()
    toggling = [asyncio.create_task(_toggle(user, stop)) for user in bystanders]
    try:
        for number in range(FREEZES):
            system.signal("jobs", signal.SIGSTOP, number % 2)
            try:
                await asyncio.sleep(FROZEN_SECONDS)
            finally:
                system.signal("jobs", signal.SIGCONT, number % 2)
            await asyncio.sleep(BETWEEN_SECONDS)
    finally:
        stop.set()
        waits = [seconds for task in toggling for seconds in await task]
    for owner, job_id in zip(owners, long_jobs, strict=True):
        await owner.wait_for_job(job_id, "completed", seconds=90.0)
    rows = await system.query("SELECT job_id::text, attempt, outcome FROM jobs.attempts")
    attempts = Counter(row["job_id"] for row in rows)
    print(f"attempts of the long jobs: {sorted(attempts[job_id] for job_id in long_jobs)}")
    print(f"outcomes of all attempts: {dict(Counter(row['outcome'] for row in rows))}")
    print(f"changes by others: {len(waits)}, the slowest took {max(waits):.1f} s")
    assert [attempts[job_id] for job_id in long_jobs] == [1] * len(long_jobs)
    await invariants.wait_for_quiet(system)
    await invariants.must_hold(system)
    for user in owners + bystanders:
        await user.close()


async def _toggle(user: User, stop: asyncio.Event) -> list[float]:
    """Enable and disable until `stop` is set; return the seconds until each change was done."""
    waits = []
    while not stop.is_set():
        for status in ("enabled", "disabled"):
            began = time.monotonic()
            await (user.enable(SHORT) if status == "enabled" else user.disable())
            await user.wait_for_status(status, seconds=30.0)
            waits.append(time.monotonic() - began)
            await asyncio.sleep(random.uniform(0.1, 0.5))
    return waits
