"""One whole system for all acceptance tests: real processes, reached over HTTP."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest

from dev.launcher import secrets
from dev.launcher.stack import Stack
from tests import traces
from tests.acceptance import outsider, waiting
from tests.acceptance.system import WORKER, System
from tests.acceptance.users import User

PAUSE_MS = "60"
"""Two thousand interactions then take slightly more than a second: long enough to observe the transition."""

NewUser = Callable[[], Awaitable[User]]


@pytest.fixture(scope="session")
def trace_backend() -> Iterator[traces.Backend]:
    """A trace backend for all processes. They record only requests with the header of `traces.traceparent`."""
    with traces.backend() as backend:
        yield backend


@pytest.fixture(scope="session")
async def running(tmp_path_factory: pytest.TempPathFactory, trace_backend: traces.Backend) -> AsyncIterator[System]:
    """The running system. Tests use `system`, which checks that they leave it healthy."""
    directory = tmp_path_factory.mktemp("acceptance")
    data = directory / "data"
    data.mkdir()
    variables = {
        "PASSWORD_MEMORY_KIB": "1024",
        "REGISTRATIONS_PER_ADDRESS": "1000000",
        "DEMO_BATCH_PAUSE_MS": PAUSE_MS,
        "TRUSTED_IDENTITY_KEYS": f"{secrets.load(data)['TRUSTED_IDENTITY_KEYS']},{outsider.TRUSTED}",
        **traces.variables(trace_backend),
    }
    stack = Stack(data, scale={WORKER: 2}, env=variables, log=directory / "log", forks="REAL_STARTS" not in os.environ)
    print(f"\nlines of all processes: {directory / 'log'}")
    async with System(stack) as system:
        yield system


@pytest.fixture
async def system(running: System) -> AsyncIterator[System]:
    """A healthy system. A test that leaves it unhealthy fails, and the fixture restores it for the next test."""
    yield running
    try:
        # A gateway reconnects to a restarted service within seconds.
        await waiting.until(running.is_healthy, "the test leaves the system healthy")
    except AssertionError:
        await running.restore()
        raise


@pytest.fixture
async def new_user(system: System) -> AsyncIterator[NewUser]:
    """Return a function that registers a user."""
    users: list[User] = []

    async def register() -> User:
        users.append(await User.register(system.url))
        return users[-1]

    yield register
    for user in users:
        await user.close()


@pytest.fixture
async def user(new_user: NewUser) -> User:
    """A new user."""
    return await new_user()
