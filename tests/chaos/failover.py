"""Disturbs highly available engines: the primary of PostgreSQL is killed and its standby promoted, a NATS node is lost."""

from __future__ import annotations

import asyncio

from tests.acceptance.system import System
from tests.chaos.nemesis import Nemesis

PRIMARY_SECONDS = (0.0, 2.0)
"""Time until an operator's tool would detect the loss of the primary."""
NODE_SECONDS = 4.0
NODES = ("nats", "nats-2", "nats-3")


class Failover:
    """Disturbs highly available engines in place of single ones; the nemesis decides and records."""

    def __init__(self, system: System, nemesis: Nemesis) -> None:
        self._system = system
        self._nemesis = nemesis
        self._random = nemesis.random

    async def rage(self, seconds: float) -> None:
        """Kill the primary twice, and lose each NATS node for a while, one of them with its store."""
        await asyncio.gather(
            self._nemesis.after(seconds * 0.3, self._fail_over),
            self._nemesis.after(seconds * 0.75, self._fail_over),
            self._nemesis.after(seconds * 0.1, self._lose_nodes),
        )

    async def _fail_over(self) -> None:
        """Kill the primary, promote its standby, and let the dead one follow: commits wait for it."""
        async with self._nemesis.disturbed["postgres"]:
            primary = self._system.primary
            seconds = self._random.choice(PRIMARY_SECONDS)
            self._nemesis.note(f"{primary}, the primary, is killed; its standby is promoted after {seconds:g} s")
            await self._system.kill(primary)
            await asyncio.sleep(seconds)
            await self._system.promote()
            self._nemesis.note(f"{self._system.primary} is the primary")
            await self._system.restart_dead_servers()
            self._nemesis.note(f"{primary} is the standby")

    async def _lose_nodes(self) -> None:
        nodes = self._random.sample(NODES, len(NODES))
        for node in nodes:
            async with self._nemesis.disturbed["nats"]:
                self._nemesis.note(f"{node} is lost for {NODE_SECONDS:g} s")
                await self._system.kill(node)
                if node == nodes[0]:
                    self._nemesis.note(f"{node} has lost its store")
                    await self._system.erase(node)
                await asyncio.sleep(NODE_SECONDS)
                await self._system.start(node)
            await asyncio.sleep(NODE_SECONDS)
