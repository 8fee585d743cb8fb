"""Disturbs the processes of the system, by choices that a seed decides."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable, Mapping

from tests.acceptance.system import WORKER, System
from tests.chaos import clocks
from tests.chaos.clocks import Clocks
from tests.chaos.journal import Journal

LEASE_SECONDS = 3.0
TARGETS = {WORKER: 6, "jobs": 4, "demo": 3, "gateway": 1, "auth": 2, "auth-worker": 1, "nats": 2, "postgres": 2}
"""The parts to disturb, with their relative frequency."""
ENGINES = ("nats", "postgres")
CLOCKS = ("auth", "demo", "jobs", "gateway", WORKER)
"""The processes whose first replica has a wrong clock."""
STEP_SECONDS = 6.0
TRANSACTION_TRIES = 60
TRANSACTION_SECONDS = 0.1
"""A transaction that is idle for longer, while its process is stopped, is the process's own."""
IN_TRANSACTION = """
SELECT 1 AS found FROM pg_stat_activity
WHERE usename = %s AND state = 'idle in transaction' AND state_change < now() - make_interval(secs => %s)
"""


class Nemesis:
    """Kills, stops, pauses and restarts parts, and records its actions."""

    def __init__(
        self,
        system: System,
        clocks: Clocks,
        seed: int,
        journal: Journal,
        *,
        upgraded: Mapping[str, str],
        spares_engines: bool = False,
    ) -> None:
        """`upgraded` has the variables that a replica gets when it is restarted for an upgrade."""
        self.journal = journal
        self.random = random.Random(seed)
        self.disturbed = {name: asyncio.Lock() for name in TARGETS}
        """One disturbance of a part at a time."""
        self._targets = {name: weight for name, weight in TARGETS.items() if not (spares_engines and name in ENGINES)}
        self._system = system
        self._clocks = clocks
        self._upgraded = upgraded
        self._loop = asyncio.get_running_loop()

    async def rage(self, seconds: float) -> None:
        """Disturb processes. Once: all workers fail their jobs, a clock steps, a pause in a transaction, an upgrade.

        All the time a clock of each service is wrong by seconds.
        """
        self._ends_at = self._loop.time() + seconds
        specials = (
            self.after(seconds * 0.2, self._fail_all),
            self.after(seconds * 0.4, self._pause_in_transaction),
            self.after(seconds * 0.25, self._step_clock),
            self.after(seconds * 0.7, self._upgrade),
        )
        for name in CLOCKS:
            self._set_clock(name, self.random.choice(clocks.SMALL))
        await asyncio.gather(self._disturb_until_end(), *specials)

    async def after(self, seconds: float, deed: Callable[[], Awaitable[None]]) -> None:
        """Do something later."""
        await asyncio.sleep(seconds)
        await deed()

    def note(self, deed: str) -> None:
        """Record an action."""
        self.journal.write("disturbance", deed=deed)

    async def _disturb_until_end(self) -> None:
        while self._loop.time() < self._ends_at:
            await self._disturb()
            await asyncio.sleep(self.random.uniform(0.1, 2.0))

    async def _disturb(self) -> None:
        name = self.random.choices(list(self._targets), list(self._targets.values()))[0]
        deeds = [self._kill, self._kill, self._stop, self._pause, self._pause]
        # A pause of the postmaster would not pause PostgreSQL's backends, which are separate processes.
        deed = self.random.choice(deeds[:3] if name == "postgres" else deeds)
        async with self.disturbed[name]:
            await deed(name, self.random.randrange(self._system.count(name)))

    async def _kill(self, name: str, index: int) -> None:
        await self._away(name, index, "killed")

    async def _stop(self, name: str, index: int) -> None:
        await self._away(name, index, "stopped")

    async def _away(self, name: str, index: int, method: str) -> None:
        seconds = self.random.choice([0.0, 0.0, 1.0, 4.0])
        self.note(f"{name}[{index}] {method} for {seconds:g} s")
        await (self._system.kill(name, index) if method == "killed" else self._system.stop(name, index))
        await asyncio.sleep(seconds)
        await self._system.start(name, index, wait=False)

    async def _pause(self, name: str, index: int) -> None:
        seconds = self.random.choice([1.0, LEASE_SECONDS + 1.0, LEASE_SECONDS * 2.5])
        self.note(f"{name}[{index}] paused for {seconds:g} s")
        pid = self._system.signal(name, signal.SIGSTOP, index)
        try:
            await asyncio.sleep(seconds)
        finally:
            self._system.resume(pid)

    async def _pause_in_transaction(self) -> None:
        """Pause a jobs replica while it holds locks: try until a transaction of the service stays idle."""
        async with self.disturbed["jobs"], self.disturbed["postgres"]:
            for _ in range(TRANSACTION_TRIES):
                pid = self._system.signal("jobs", signal.SIGSTOP, self.random.randrange(2))
                try:
                    await asyncio.sleep(TRANSACTION_SECONDS * 1.5)
                    if await self._system.query(IN_TRANSACTION, "jobs", TRANSACTION_SECONDS):
                        self.note("jobs paused in a transaction for 6 s")
                        await asyncio.sleep(LEASE_SECONDS * 2)
                        return
                finally:
                    self._system.resume(pid)
                await asyncio.sleep(self.random.uniform(0.01, 0.1))
            self.note("no transaction was caught open")

    async def _upgrade(self) -> None:
        """Restart every replica of every service, one after the other, as a deployment of the new release does."""
        self.note("the upgrade begins")
        for name in ("jobs", "demo", "auth", WORKER, "gateway"):
            async with self.disturbed[name]:
                for index in range(self._system.count(name)):
                    await self._system.stop(name, index)
                    await self._system.start(name, index, wait=False, **self._upgraded)
                    await asyncio.sleep(1.0)
        self.note("the upgrade has ended")

    async def _step_clock(self) -> None:
        """Let one clock be wrong by minutes for a while."""
        name = self.random.choice(CLOCKS)
        self._set_clock(name, self.random.choice(clocks.LARGE))
        await asyncio.sleep(STEP_SECONDS)
        self._set_clock(name, self.random.choice(clocks.SMALL))

    def _set_clock(self, name: str, seconds: int) -> None:
        self.note(f"the clock of {name}[0] is wrong by {seconds:+d} s")
        self._clocks.set(name, seconds)

    async def _fail_all(self) -> None:
        async with self.disturbed[WORKER]:
            self.note("all jobs fail")
            async with self._system.workers(DEMO_FAIL_HANDLERS="all"):
                await asyncio.sleep(4.0)
            self.note("jobs fail no longer")
