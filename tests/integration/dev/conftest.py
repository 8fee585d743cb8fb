"""Engines on a directory of their own, gone without a trace afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.embedded import EmbeddedServers, Nats, Postgres

PASSWORD = "p/ss%word"


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[EmbeddedServers]:
    """Both engines, not started yet."""
    pair = EmbeddedServers(postgres=Postgres(tmp_path, password=PASSWORD), nats=Nats(tmp_path, password="token"))
    yield pair
    pair.erase()
