"""Disturbs the system, two things at a time, by choices that a seed decides."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Awaitable, Callable

from tests.acceptance.system import WORKER, System

LEASE_SECONDS = 3.0
TARGETS = {WORKER: 6, "jobs": 3, "demo": 3, "gateway": 1, "auth": 1, "nats": 2, "postgres": 2}
"""The parts to disturb, with their relative frequency."""


class Nemesis:
    """Kills, stops, pauses and restarts parts, and records its actions."""

    def __init__(self, system: System, seed: int) -> None:
        self.deeds: list[str] = []
        self._system = system
        self._random = random.Random(seed)
        self._began = time.monotonic()
        self._disturbed = {name: asyncio.Lock() for name in TARGETS}

    async def rage(self, seconds: float) -> None:
        """Disturb for so long. Once the store of NATS is lost, and once all workers fail their jobs for a while."""
        specials = (self._after(seconds * 0.3, self._fail_all), self._after(seconds * 0.6, self._wipe_nats))
        await asyncio.gather(self._disturb_until(seconds), self._disturb_until(seconds), *specials)

    async def _disturb_until(self, seconds: float) -> None:
        while time.monotonic() - self._began < seconds:
            await self._disturb()
            await asyncio.sleep(self._random.uniform(0.1, 2.0))

    async def _after(self, seconds: float, deed: Callable[[], Awaitable[None]]) -> None:
        await asyncio.sleep(seconds)
        await deed()

    async def _disturb(self) -> None:
        name = self._random.choices(list(TARGETS), list(TARGETS.values()))[0]
        deeds = [self._kill, self._kill, self._stop, self._pause, self._pause]
        # PostgreSQL's backends are processes of their own, which a pause of the first would not reach.
        deed = self._random.choice(deeds[:3] if name == "postgres" else deeds)
        async with self._disturbed[name]:
            await deed(name, self._random.randrange(2) if name == WORKER else 0)

    async def _kill(self, name: str, index: int) -> None:
        await self._away(name, index, "killed")

    async def _stop(self, name: str, index: int) -> None:
        await self._away(name, index, "stopped")

    async def _away(self, name: str, index: int, how: str) -> None:
        seconds = self._random.choice([0.0, 0.0, 1.0, 4.0])
        self._note(f"{name}[{index}] {how} for {seconds:g} s")
        await (self._system.kill(name, index) if how == "killed" else self._system.stop(name, index))
        await asyncio.sleep(seconds)
        await self._system.start(name, index, wait=False)

    async def _pause(self, name: str, index: int) -> None:
        seconds = self._random.choice([1.0, LEASE_SECONDS + 1.0, LEASE_SECONDS * 2.5])
        self._note(f"{name}[{index}] paused for {seconds:g} s")
        self._system.signal(name, signal.SIGSTOP, index)
        try:
            await asyncio.sleep(seconds)
        finally:
            self._system.signal(name, signal.SIGCONT, index)

    async def _wipe_nats(self) -> None:
        async with self._disturbed["nats"]:
            self._note("nats lost its store")
            await self._system.erase("nats")
            await self._system.start("nats")

    async def _fail_all(self) -> None:
        async with self._disturbed[WORKER]:
            self._note("all jobs fail")
            async with self._system.workers(DEMO_FAIL_HANDLERS="all"):
                await asyncio.sleep(4.0)
            self._note("jobs fail no longer")

    def _note(self, deed: str) -> None:
        self.deeds.append(f"{time.monotonic() - self._began:5.1f} s  {deed}")
