"""The primary is killed under load and its standby promoted: no accepted operation is lost, and nothing is restarted."""

from __future__ import annotations

import asyncio
import os
import time

import pytest

from tests.acceptance.system import System
from tests.acceptance.users import PASSWORD, User
from tests.ha.conftest import TheLoad

FAILOVERS = int(os.environ.get("FAILOVERS") or 3)
LOAD_SECONDS = 5.0
BACK_SECONDS = 120.0
RETRY_SECONDS = 0.05


@pytest.mark.timeout(300 + 120 * FAILOVERS)
async def test_killed_primary_loses_no_accepted_operation(system: System, load: TheLoad) -> None:
    probe = await User.register(system.url)
    pids = {name: system.pids(name) for name in system.processes}
    seconds = []
    async with load(system) as generated:
        for _ in range(FAILOVERS):
            await asyncio.sleep(LOAD_SECONDS)
            seconds.append(await _fail_over(system, probe))
            await system.restart_dead_servers()
    for name, values in zip(("promoted", "first write", "first job done"), zip(*seconds, strict=True), strict=True):
        print(f"{name}: {', '.join(f'{value:.1f}' for value in values)}; worst {max(values):.1f} s")
    resets = [stream.must_be_gap_free_or_reset() for stream in generated.streams.values()]
    print(f"resets of the streams: {resets}")
    assert {name: system.pids(name) for name in system.processes} == pids, "no process was restarted"
    await probe.close()


@pytest.mark.timeout(300)
async def test_switchover_loses_no_accepted_operation(system: System, load: TheLoad) -> None:
    before = system.primary
    async with load(system) as generated:
        await asyncio.sleep(LOAD_SECONDS)
        await system.promote()
        await system.restart_dead_servers()
        await asyncio.sleep(LOAD_SECONDS)
    assert system.primary != before
    for stream in generated.streams.values():
        stream.must_be_gap_free_or_reset()


async def _fail_over(system: System, probe: User) -> tuple[float, float, float]:
    """Kill the primary; return the seconds until the promotion, the first accepted write, and the end of a new job."""
    before = system.primary
    began = time.monotonic()
    await system.kill(before)
    promotion = asyncio.create_task(system.promote())
    await _sign_in(probe)
    written = time.monotonic() - began
    await promotion
    promoted = min(time.monotonic() - began, written)
    assert system.primary != before
    for status in ("enabled", "disabled"):
        await _change(probe, status)
        await probe.wait_for_status(status, seconds=BACK_SECONDS)
        if status == "enabled":
            done = time.monotonic() - began
    return promoted, written, done


async def _sign_in(user: User) -> None:
    """Sign in, which writes a session, as soon as that succeeds."""
    async with asyncio.timeout(BACK_SECONDS):
        while True:
            answer = await user.post("/auth/login", json={"email": user.email, "password": PASSWORD})
            if answer.status_code == 200:
                return
            assert answer.status_code in {502, 503, 504}, answer.text
            await asyncio.sleep(RETRY_SECONDS)


async def _change(user: User, status: str) -> None:
    """Enable or disable demo mode, as soon as that is accepted."""
    path, options = ("/demo/enable", {"niche": "tech_reviews"}) if status == "enabled" else ("/demo/disable", {})
    async with asyncio.timeout(BACK_SECONDS):
        while (answer := await user.post(path, json=options)).status_code != 202:
            assert answer.status_code in {502, 503, 504}, answer.text
            await asyncio.sleep(RETRY_SECONDS)
