"""One whole system for all attacks: real processes, encrypted connections, two gateways."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from dev import subprocesses
from dev.launcher import fake_provider as local_provider
from dev.launcher.stack import Stack
from tests import traces
from tests.acceptance import waiting
from tests.acceptance.system import System
from tests.acceptance.users import PASSWORD
from tests.security.users import Person

ADMIN_EMAIL = "admin@example.org"
TRUSTED_PROXY = "127.0.0.1"
"""A client on another loopback address is an untrusted client."""

NewPerson = Callable[..., Awaitable[Person]]


class Replicated(System):
    """The system with two gateways, the path of its log and the folder of its emails."""

    def __init__(self, stack: Stack, *, directory: Path) -> None:
        super().__init__(stack)
        self.log = directory / "log"
        self.mails = directory / "mails"

    @property
    def encryption_keys(self) -> str:
        """The keys that encrypt secrets at rest."""
        return self._stack.environment("auth")["ENCRYPTION_KEYS"]

    @property
    def nats_url(self) -> str:
        """The URL of NATS for the gateway."""
        return self._stack.nats_url("gateway")

    @property
    def database_url(self) -> str:
        """The URL of the database for the superuser."""
        return self._stack.database_url()

    @asynccontextmanager
    async def locked_row(self, table: str, column: str, value: object) -> AsyncIterator[None]:
        """Lock a row while the context lasts."""
        statement = sql.SQL("SELECT 1 FROM {} WHERE {} = %s FOR UPDATE").format(
            sql.Identifier(*table.split(".")), sql.Identifier(column)
        )
        async with await psycopg.AsyncConnection.connect(self.database_url, connect_timeout=5) as conn:
            await conn.execute(statement, [value])
            yield

    @asynccontextmanager
    async def paused(self, name: str) -> AsyncIterator[Callable[[], None]]:
        """Pause a process with SIGSTOP; yield a function that resumes it. The end of the context resumes it too."""

        def wake() -> None:
            self.signal(name, signal.SIGCONT)

        self.signal(name, signal.SIGSTOP)
        try:
            yield wake
        finally:
            wake()


@pytest.fixture(scope="session")
def trace_backend() -> Iterator[traces.Backend]:
    """A trace backend for all processes. They record only requests with the header of `traces.traceparent`."""
    with traces.backend() as backend:
        yield backend


@pytest.fixture(scope="session")
async def running(tmp_path_factory: pytest.TempPathFactory, trace_backend: traces.Backend) -> AsyncIterator[Replicated]:
    """The running system. Tests use `system`, which checks that they leave it healthy."""
    directory = tmp_path_factory.mktemp("security")
    port = subprocesses.free_port()
    with local_provider.running(port) as platforms:
        variables = {
            "PASSWORD_MEMORY_KIB": "1024",
            "REGISTRATIONS_PER_ADDRESS": "1000000",
            "RATE_LIMIT_SIGN_IN": "off",
            "TRUSTED_PROXIES": TRUSTED_PROXY,
            "ADMIN_EMAIL": ADMIN_EMAIL,
            "ADMIN_PASSWORD": PASSWORD,
            "EMAIL_URL": f"folder:{directory / 'mails'}",
            "LOG_LEVEL": "debug",
            **traces.variables(trace_backend),
            **platforms,
        }
        stack = Stack(
            directory / "data",
            gateway_port=port,
            scale={"gateway": 2},
            env=variables,
            log=directory / "log",
            forks=True,
        )
        async with Replicated(stack, directory=directory) as system:
            yield system


@pytest.fixture
async def system(running: Replicated) -> AsyncIterator[Replicated]:
    """A healthy system. A test that leaves it unhealthy fails, and the fixture restores it for the next test."""
    yield running
    try:
        # A gateway reconnects to a restarted service within seconds.
        await waiting.until(running.is_healthy, "the test leaves the system healthy")
    except AssertionError:
        await running.restore()
        raise


@pytest.fixture
async def new_person(system: Replicated) -> AsyncIterator[NewPerson]:
    """Return a function that registers a user with a separate network address."""
    people: list[Person] = []

    async def register(url: str = "") -> Person:
        people.append(await Person.register(url or system.url))
        return people[-1]

    yield register
    for person in people:
        await person.close()


@pytest.fixture
async def person(new_person: NewPerson) -> Person:
    """A user with an account."""
    return await new_person()


@pytest.fixture
async def admin(system: Replicated) -> AsyncIterator[Person]:
    """The admin, who has just signed in."""
    signed_in = Person(system.url, email=ADMIN_EMAIL)
    answer = await signed_in.post("/auth/login", json=signed_in.credentials)
    assert answer.status_code == 200, answer.text
    yield signed_in
    await signed_in.close()
