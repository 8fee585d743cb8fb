"""Embedded servers in a temporary directory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.embedded import EmbeddedServers, Nats, Postgres

PASSWORD = "p/ss%word"


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[EmbeddedServers]:
    """Return both servers, not started."""
    pair = EmbeddedServers(postgres=Postgres(tmp_path, password=PASSWORD), nats=Nats(tmp_path, password="token"))
    yield pair
    pair.erase()
