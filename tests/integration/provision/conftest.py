"""New engines for provisioning tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from chassis import settings as chassis_settings
from dev.embedded import EmbeddedServers, Nats, Postgres
from provision import __main__ as provisioning
from provision import settings
from provision.services import SERVICES

PASSWORDS = {service: f"{service}%/p@ss" for service in SERVICES}


@pytest.fixture(scope="module")
def fresh_engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServers]:
    """Both engines as in a new installation."""
    directory = tmp_path_factory.mktemp("fresh")
    pair = EmbeddedServers(postgres=Postgres(directory, password="p/w"), nats=Nats(directory, password="token"))
    pair.start()
    yield pair
    pair.erase()


@pytest.fixture(scope="module")
def environ(fresh_engines: EmbeddedServers) -> dict[str, str]:
    """The environment of the one-shot."""
    passwords = {f"{service.upper()}_DB_PASSWORD": password for service, password in PASSWORDS.items()}
    return {"ADMIN_DATABASE_URL": fresh_engines.postgres.url, "NATS_URL": fresh_engines.nats.url, **passwords}


@pytest.fixture(scope="module")
def provisioned_twice(environ: dict[str, str]) -> None:
    """Provision twice; the second run must succeed."""
    for _ in range(2):
        provisioning.provision(chassis_settings.read(settings.Settings, environ))
