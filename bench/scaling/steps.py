"""The steps of replicas that are added, restarted and killed while the load goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from bench.scaling.balancer import Balancer
from dev import Stack

WORKER = "demo-worker"
SERVICES = ("auth", "demo", "jobs", "gateway")
SCALE = {WORKER: 4, **dict.fromkeys(SERVICES, 2)}
"""The most replicas of each process; the others run once."""
DRAIN_SECONDS = 1.0
"""How long a gateway is out of the rotation before it gets SIGTERM. Kubernetes waits five seconds."""
NOTICE_SECONDS = 1.0
"""How long a killed gateway stays in the rotation."""
KILLS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One row of the table."""

    name: str
    act: Callable[[], Awaitable[None]] | None = None
    """Runs while the load goes on; None: nothing changes."""
    may_repeat: bool = False
    """Whether clients may have to send a request again: only when a gateway is killed."""


class Replicas:
    """Starts, stops and kills replicas of a stack, and keeps gateways that are down out of the rotation."""

    def __init__(self, stack: Stack, balancer: Balancer) -> None:
        self._stack = stack
        self._balancer = balancer

    async def add(self, name: str, *indexes: int, env: Mapping[str, str] | None = None) -> None:
        """Start replicas, from now on with the variables `env`, and wait until they are ready."""
        for index in indexes:
            await asyncio.to_thread(self._stack.start_process, name, index, env=env)
            if name == "gateway":
                self._balancer.rotation.append(index)

    async def stop(self, name: str, *indexes: int) -> None:
        """Send SIGTERM and wait for the end."""
        for index in indexes:
            if name == "gateway":
                self._balancer.rotation.remove(index)
                await asyncio.sleep(DRAIN_SECONDS)
            await asyncio.to_thread(self._stack.stop_process, name, index)

    async def kill(self, name: str, index: int) -> None:
        """Send SIGKILL `KILLS` times, and start the replica again in between. A load balancer notices after a while."""
        for remaining in reversed(range(KILLS)):
            await asyncio.to_thread(self._stack.kill, name, index)
            if name == "gateway":
                await asyncio.sleep(NOTICE_SECONDS)
                self._balancer.rotation.remove(index)
            if remaining:
                await self.add(name, index)

    async def restart(self, name: str, indexes: Iterable[int], env: Mapping[str, str] | None = None) -> None:
        """Stop and start one replica after the other, as a rolling deployment does, from now on with the variables `env`."""
        for index in indexes:
            await self.stop(name, index)
            await self.add(name, index, env=env)


def steps(replicas: Replicas) -> Iterator[Step]:
    """Return all steps; the system has one replica of each process before the first."""
    yield Step(name="one of each")
    yield Step(name="worker: 1 → 2", act=partial(replicas.add, WORKER, 1))
    yield Step(name="two workers")
    yield Step(name="worker: 2 → 4", act=partial(replicas.add, WORKER, 2, 3))
    yield Step(name="four workers")
    for name in SERVICES:
        yield Step(name=f"{name}: 1 → 2", act=partial(replicas.add, name, 1))
    yield Step(name="two of each service, four workers")
    for name in SERVICES:
        yield Step(name=f"{name}: SIGTERM and start, each in turn", act=partial(replicas.restart, name, (0, 1)))
    for name in SERVICES:
        yield Step(
            name=f"{name}: SIGKILL three times, 2 → 1",
            act=partial(replicas.kill, name, 1),
            may_repeat=name == "gateway",
        )
    yield Step(name="worker: SIGTERM, 4 → 2", act=partial(replicas.stop, WORKER, 3, 2))
    yield Step(name="worker: SIGKILL three times, 2 → 1", act=partial(replicas.kill, WORKER, 1))
