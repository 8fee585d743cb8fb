"""Embedded servers in a temporary directory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dev.embedded import EmbeddedServers, Nats, Postgres

PASSWORD = "p/ss%word"


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServers]:
    """Return both servers. A test starts what it needs, or stops what must not run."""
    directory = tmp_path_factory.mktemp("servers")
    pair = EmbeddedServers(postgres=Postgres(directory, password=PASSWORD), nats=Nats(directory, password="token"))
    yield pair
    pair.erase()
