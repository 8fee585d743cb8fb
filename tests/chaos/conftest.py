"""A system of its own, two or three of each process behind proxies, to be disturbed at random."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from dev import subprocesses
from dev.launcher import fake_provider as local_provider
from dev.launcher.stack import Stack
from tests.acceptance.system import WORKER, System
from tests.chaos.journal import Journal
from tests.chaos.proxy import Proxies

SCALE = {"auth": 2, "demo": 2, "jobs": 2, WORKER: 3, "gateway": 2}
VARIABLES = {
    "PASSWORD_MEMORY_KIB": "1024",
    "REGISTRATIONS_PER_ADDRESS": "1000000",
    "RATE_LIMIT_SIGN_IN": "off",
    "DEMO_BATCH_PAUSE_MS": "40",
}


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """The journal of the run."""
    journal = Journal(tmp_path / "journal.jsonl")
    print(f"\nlines of all processes: {tmp_path / 'log'}; calls, frames and disturbances: {journal.path}")
    yield journal
    journal.close()


@pytest.fixture
def proxies() -> Iterator[Proxies]:
    """The proxies between the processes."""
    with Proxies() as proxies:
        yield proxies


@pytest.fixture
async def system(tmp_path: Path, proxies: Proxies) -> AsyncIterator[System]:
    """The system, with workers that leave time to be disturbed."""
    port = subprocesses.free_port()
    with local_provider.running(port) as platforms:
        stack = Stack(
            tmp_path / "data",
            gateway_port=port,
            scale=SCALE,
            env={**VARIABLES, **platforms, "EMAIL_URL": f"folder:{tmp_path / 'mails'}"},
            log=tmp_path / "log",
            front=proxies.front,
        )
        async with System(stack) as system:
            yield system
