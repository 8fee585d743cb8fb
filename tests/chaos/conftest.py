"""A system of its own, two or three of each process behind proxies, to be disturbed at random."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import pytest

from dev import subprocesses
from dev.launcher import fake_provider as local_provider
from dev.launcher.stack import Stack
from tests.acceptance.system import WORKER, System
from tests.chaos.clocks import Clocks
from tests.chaos.disks import Disk
from tests.chaos.disks import disks as file_systems
from tests.chaos.journal import Journal
from tests.chaos.proxy import Proxies
from tests.previous import release

IS_HA = bool(os.environ.get("CHAOS_HA"))
"""Whether PostgreSQL has a standby and NATS three nodes."""
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
def clocks(tmp_path: Path) -> Clocks:
    """The clocks of the first replicas."""
    return Clocks(tmp_path / "clocks")


@pytest.fixture
def disks(tmp_path: Path) -> Iterator[dict[str, Disk]]:
    """The disks of the engines."""
    if IS_HA:
        yield {}
        return
    with file_systems(tmp_path / "disk" / "data") as disks:
        yield disks


@pytest.fixture
def previous_release(tmp_path: Path) -> dict[str, str]:
    """The variables of a process that runs the code of the previous release."""
    tree = tmp_path / "previous"
    tree.mkdir()
    release.export(tree)
    return release.variables(tree)


@pytest.fixture
async def system(
    tmp_path: Path, proxies: Proxies, clocks: Clocks, disks: dict[str, Disk], previous_release: dict[str, str]
) -> AsyncIterator[System]:
    """The system, with workers that leave time to be disturbed. The second replica of each process is of the previous release."""

    def variant(name: str, index: int) -> Mapping[str, str]:
        return {**clocks.variables(name, index), **(previous_release if index == 1 else {})}

    port = subprocesses.free_port()
    with local_provider.running(port) as platforms:
        stack = Stack(
            tmp_path / "disk" / "data",
            gateway_port=port,
            scale=SCALE,
            env={**VARIABLES, **platforms, "EMAIL_URL": f"folder:{tmp_path / 'mails'}"},
            log=tmp_path / "log",
            ha=IS_HA,
            front=proxies.front,
            variant=variant,
        )
        async with System(stack) as system:
            yield system
