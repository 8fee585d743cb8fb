"""`make demo ARGS=--survive` keeps its promise."""

from __future__ import annotations

import asyncio

import pytest

from dev import survive


@pytest.mark.timeout(600)
async def test_job_survives_the_loss_of_every_part(capsys: pytest.CaptureFixture[str]) -> None:
    assert await asyncio.to_thread(survive.run) == 0
    assert "none lost, none twice" in capsys.readouterr().out
