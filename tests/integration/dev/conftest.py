"""Engines on a directory of their own, gone without a trace afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.engines import Engines, Nats, Postgres

PASSWORD = "p/ss%word"


@pytest.fixture
def engines(tmp_path: Path) -> Iterator[Engines]:
    """Both engines, not started yet."""
    pair = Engines(postgres=Postgres(tmp_path, password=PASSWORD), nats=Nats(tmp_path, password="token"))
    yield pair
    pair.erase()
