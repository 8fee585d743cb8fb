"""One whole system for all acceptance tests: real processes, reached over HTTP."""

from __future__ import annotations

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
    """Where all processes export their spans. Recorded are only requests that ask for it (`traces.traceparent`)."""
    with traces.backend() as backend:
        yield backend


@pytest.fixture(scope="session")
async def running(tmp_path_factory: pytest.TempPathFactory, trace_backend: traces.Backend) -> AsyncIterator[System]:
    """The system; use `system` instead, which is left healthy by every test."""
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
    stack = Stack(data, scale={WORKER: 2}, env=variables, log=directory / "log")
    print(f"\nlines of all processes: {directory / 'log'}")
    async with System(stack) as system:
        yield system


@pytest.fixture
async def system(running: System) -> AsyncIterator[System]:
    """The system, healthy; a test that leaves it otherwise fails (and it is healed for the others)."""
    yield running
    try:
        # A gateway needs a moment to find a service again.
        await waiting.until(running.is_healthy, "the test leaves the system healthy")
    except AssertionError:
        await running.heal()
        raise


@pytest.fixture
async def new_user(system: System) -> AsyncIterator[NewUser]:
    """Make users."""
    made: list[User] = []

    async def register() -> User:
        made.append(await User.register(system.url))
        return made[-1]

    yield register
    for user in made:
        await user.close()


@pytest.fixture
async def user(new_user: NewUser) -> User:
    """A new user."""
    return await new_user()
