"""Deadlines of a worker's calls in this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.conftest import GENEROUS_SECONDS
from worker import client


@pytest.fixture(scope="package", autouse=True)
def generous_deadlines_of_the_worker() -> Iterator[None]:
    """Let calls take their time: the jobs service shares this busy process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "TIMEOUT", GENEROUS_SECONDS)
        patch.setattr("worker._runtime.worker.HAND_BACK_SECONDS", GENEROUS_SECONDS)
        yield
