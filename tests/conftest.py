"""Shared fixtures: real PostgreSQL and NATS, provisioned as in production, for all tests of a run.

Tests share the databases; each creates its own owners.
"""

from __future__ import annotations

import base64
import functools
import gc
import logging
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import httpx
import hypothesis
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import identity, postgres, tls
from dev.embedded import EmbeddedServers, Nats, Postgres
from dev.embedded.postgres import DATABASE, SUPERUSER
from dev.launcher import certificates, fork_server
from provision import __main__ as provisioning
from provision import roles, services, settings
from tests.acceptance import waiting

EVENTUALLY_SECONDS = 60.0
PASSWORDS = {service: f"{service}-password" for service in services.SERVICES}
TEMPLATE = "provisioned"
"""A database that no test connects to, for copies."""

# How fast examples are generated and run depends on what else the machine does. Every run takes the same examples, so no
# change fails by chance; MODEL_EXAMPLES explores others.
hypothesis.settings.register_profile(
    "steady",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
    derandomize="MODEL_EXAMPLES" not in os.environ,
)
hypothesis.settings.load_profile("steady")

# Each httpx client would read all root certificates, in 50 ms; tests share the context.
pytest.MonkeyPatch().setattr("httpx._transports.default.create_ssl_context", functools.cache(httpx.create_ssl_context))
# A busy machine answers later than within httpx's five seconds.
for _client in (httpx.AsyncClient, httpx.Client):
    _client.__init__.__kwdefaults__["timeout"] = httpx.Timeout(EVENTUALLY_SECONDS)  # type: ignore[index]


def pytest_collection_finish() -> None:
    """Exclude modules and collected tests from garbage collections, as `chassis.process` does: they stay until the end."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what this process and those that it has started and awaited took of the processor."""
    fork_server.end_inherited()
    terminalreporter.write_line(f"{sum(os.times()[:4]):.0f} s of processor time")


@pytest.fixture(autouse=True)
def restored_log() -> Iterator[None]:
    """Restore the log after each test: a program that a test runs sends it to the standard output of that test."""
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServers]:
    """Empty PostgreSQL and NATS servers."""
    directory: Path = tmp_path_factory.mktemp("engines")
    embedded = EmbeddedServers(
        postgres=Postgres(directory, password="superuser"), nats=Nats(directory, password="nats")
    )
    embedded.start()
    yield embedded
    embedded.erase()


@pytest.fixture(scope="session")
def provisioned(servers: EmbeddedServers) -> EmbeddedServers:
    """The engines with roles, schemas, tables and streams."""
    provisioning.provision(
        settings.Settings(
            admin_database_url=servers.postgres.url,
            passwords=PASSWORDS,
            nats_url=servers.nats.url,
        )
    )
    with servers.postgres.connect() as connection:
        connection.execute(f"CREATE DATABASE {TEMPLATE} TEMPLATE {DATABASE}")
    return servers


@pytest.fixture(scope="session")
def database_url(provisioned: EmbeddedServers) -> Callable[[str], str]:
    """Return the database URL of a service's role."""
    return lambda service: roles.service_url(provisioned.postgres.url, service, PASSWORDS[service])


@pytest.fixture(scope="session")
def create_database(provisioned: EmbeddedServers) -> Callable[[], Callable[[str], str]]:
    """Create another database with the tables of all services; return its URL for a service's role.

    A relay or a sweep of a test's own service must not process what other tests have stored, nor theirs what it stores.
    """

    def create() -> Callable[[str], str]:
        name = f"copy_{secrets.token_hex(4)}"
        server = provisioned.postgres
        with server.connect() as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
        admin_url = server.url_for(SUPERUSER, server.password, name)
        roles.provision(admin_url, PASSWORDS)
        return lambda service: roles.service_url(admin_url, service, PASSWORDS[service])

    return create


@pytest.fixture(scope="session")
async def database(database_url: Callable[[str], str]) -> AsyncIterator[Callable[[str], AsyncEngine]]:
    """Return the SQLAlchemy engine of a service's role."""
    engines: dict[str, AsyncEngine] = {}

    def engine(service: str) -> AsyncEngine:
        if service not in engines:
            engines[service] = postgres.engine(database_url(service), name=f"test-{service}", pool_size=40)
        return engines[service]

    yield engine
    for each in engines.values():
        await each.dispose()


@pytest.fixture(scope="session")
def nats_url(provisioned: EmbeddedServers) -> str:
    """The URL of NATS."""
    return provisioned.nats.url


@pytest.fixture(scope="session")
def seeds() -> dict[str, str]:
    """A private identity key a service."""
    return {name: base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode() for name in services.CALLERS}


@pytest.fixture(scope="session")
def trusted_identity_keys(seeds: dict[str, str]) -> str:
    """The public keys of all services, as TRUSTED_IDENTITY_KEYS has them."""
    return ",".join(f"{name}:{identity.public_key(seed)}" for name, seed in seeds.items())


@pytest.fixture(scope="session")
def verifier(trusted_identity_keys: str) -> identity.Verifier:
    """Verifies what `signer` signs."""
    return identity.Verifier(trusted_identity_keys)


@pytest.fixture(scope="session")
def signer(seeds: dict[str, str]) -> Callable[[str], identity.Signer]:
    """Return the signer of a service."""
    return lambda service: identity.Signer(service, seeds[service])


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tls.Certificate]:
    """Return the certificate of an identity; all are of one authority."""
    folder = tmp_path_factory.mktemp("certificates")
    certificates.make(folder)
    return lambda name: certificates.load_certificate(folder, name)


@pytest.fixture(scope="session")
def eventually() -> Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]:
    """Wait until a condition holds, polling with pauses that grow to 0.15 s; fails after 60 s."""

    async def wait(condition: Callable[[], Awaitable[bool]]) -> None:
        await waiting.until(condition, "the condition holds", seconds=EVENTUALLY_SECONDS)

    return wait
