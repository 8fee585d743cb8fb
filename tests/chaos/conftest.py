"""A system of its own, to be disturbed at random."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dev.launcher.stack import Stack
from tests.acceptance.system import WORKER, System


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[System]:
    """The system, with workers that leave time to be disturbed."""
    variables = {"PASSWORD_MEMORY_KIB": "1024", "REGISTRATIONS_PER_ADDRESS": "1000000", "DEMO_BATCH_PAUSE_MS": "40"}
    print(f"\nlines of all processes: {tmp_path / 'log'}")
    stack = Stack(tmp_path / "data", scale={WORKER: 2}, env=variables, log=tmp_path / "log")
    async with System(stack) as system:
        yield system
