"""Loops survive errors and end on request."""

from __future__ import annotations

import asyncio
import contextlib
import logging

import pytest

from chassis import errors, run


async def test_failing_loop_is_restarted() -> None:
    tries = 0
    works = asyncio.Event()

    async def loop() -> None:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise RuntimeError("not yet")
        works.set()
        await asyncio.Event().wait()

    async with run.Background() as background, asyncio.timeout(60):
        background.start("flaky", loop)
        await works.wait()
    assert tries == 3


async def test_loop_is_restarted_after_a_cancellation_that_was_not_meant_for_it() -> None:
    tries = 0
    works = asyncio.Event()

    async def loop() -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            abandoned = asyncio.get_running_loop().create_future()
            abandoned.cancel()
            await abandoned
        works.set()
        await asyncio.Event().wait()

    async with run.Background() as background, asyncio.timeout(60):
        background.start("abandoned", loop)
        await works.wait()
    assert tries == 2


@pytest.mark.slow
async def test_loop_that_swallows_a_cancellation_still_ends() -> None:
    end_event = asyncio.Event()

    async def stubborn() -> None:
        try:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            await asyncio.Event().wait()
        finally:
            end_event.set()

    async with asyncio.timeout(60):
        async with run.Background() as background:
            background.start("stubborn", stubborn)
            await asyncio.sleep(0)
    assert end_event.is_set()


async def test_a_known_outage_is_one_line_without_a_traceback(caplog: pytest.LogCaptureFixture) -> None:
    failed = asyncio.Event()

    async def loop() -> None:
        if failed.is_set():
            await asyncio.Event().wait()
        failed.set()
        raise OSError("connection refused")

    def translate(error: Exception) -> errors.Error | None:
        return errors.Unavailable(code="database_unavailable") if isinstance(error, OSError) else None

    with caplog.at_level(logging.WARNING):
        async with run.Background(translate=translate) as background, asyncio.timeout(60):
            background.start("relay of this test", loop)
            await failed.wait()
            await asyncio.sleep(0)
    # Services of other tests share the event loop.
    (record,) = [record for record in caplog.records if record.__dict__.get("loop") == "relay of this test"]
    assert (record.getMessage(), record.exc_info) == ("background loop waits", None)


async def test_wake_up_ends_the_pause_early() -> None:
    steps = 0
    wake = asyncio.Event()
    stepped = asyncio.Event()

    async def loop() -> None:
        nonlocal steps
        while True:
            steps += 1
            stepped.set()
            await run.wait(wake, 3600)
            wake.clear()

    async with run.Background() as background, asyncio.timeout(60):
        background.start("waits", loop)
        await stepped.wait()
        stepped.clear()
        wake.set()
        await stepped.wait()
    assert steps == 2


def test_pauses_of_a_process_end_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """An idle process wakes up once for loops with different pauses that began at different times."""
    ends = set()
    for began_at, seconds in ((100.2, 5.0), (100.7, 4.0), (101.1, 4.0), (102.9, 8.0)):
        monkeypatch.setattr("chassis.run.time.monotonic", lambda now=began_at: now)
        pause = run.pause(seconds)
        assert 0.75 * seconds <= pause <= seconds
        ends.add(round((began_at + pause) % run.GRID_SECONDS, 6))
    assert len(ends) == 1


def test_pauses_without_a_common_end_are_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_offset", 0.5)
    monkeypatch.setattr("chassis.run.time.monotonic", lambda: 100.0)
    pauses = {run.pause(0.2) for _ in range(20)}
    assert len(pauses) > 1
    assert all(0.15 <= pause <= 0.2 for pause in pauses)
