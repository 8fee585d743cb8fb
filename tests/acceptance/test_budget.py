"""An enable with its job costs what docs/performance.md says: counted, so the machine's load does not matter."""

from __future__ import annotations

import asyncio

import pytest

from bench import budget
from bench.system import System, running

ENABLES = 50
STATEMENTS = 20.0
COMMITS = 5.0
WAL_BYTES = 20 * 1024
IDLE_STATEMENTS = 8.0
DELIVERED_TO_JOBS = 1.5
"""At most a wake-up for each job. Its two event messages have no recipient while nobody streams or watches the
owner."""


@pytest.mark.timeout(300)
async def test_enable_with_its_job_and_the_idle_system_stay_within_their_budgets() -> None:
    stack = running(forks=True)
    system = await asyncio.to_thread(stack.__enter__)
    try:
        measured = await budget.measure(System(system), count=ENABLES)
    finally:
        await asyncio.to_thread(stack.__exit__, None, None, None)
    assert measured.total <= STATEMENTS, measured.statements
    assert measured.commits <= COMMITS
    assert measured.wal_bytes <= WAL_BYTES
    assert sum(measured.idle.values()) <= IDLE_STATEMENTS, measured.idle
    assert measured.delivered["gateway"] <= 0.05, measured.delivered
    assert measured.delivered["jobs"] <= DELIVERED_TO_JOBS, measured.delivered
