"""Many users act at random while processes and connections are disturbed at random: afterwards all invariants hold."""

from __future__ import annotations

import asyncio
import os
import random
import time
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

import pytest

from tests.acceptance import invariants
from tests.acceptance.streams import Stream
from tests.acceptance.system import System
from tests.acceptance.users import User
from tests.chaos import checker, leaks, neighbours
from tests.chaos.actor import Actor
from tests.chaos.clocks import Clocks
from tests.chaos.conftest import IS_HA
from tests.chaos.disks import Disk
from tests.chaos.failover import Failover
from tests.chaos.journal import Journal
from tests.chaos.nemesis import Nemesis
from tests.chaos.network import Network
from tests.chaos.proxy import Proxies
from tests.previous import release

SECONDS = float(os.environ.get("CHAOS_SECONDS") or 60)
SEED = int(os.environ.get("CHAOS_SEED") or random.randrange(10**6))
USERS = 20
QUIET_SECONDS = 120.0


@pytest.mark.timeout(SECONDS + 420)
async def test_order_after_chaos(
    system: System, proxies: Proxies, clocks: Clocks, disks: dict[str, Disk], journal: Journal
) -> None:
    print(f"\nCHAOS_SEED={SEED} CHAOS_SECONDS={SECONDS:g} CHAOS_HA={IS_HA:d}")
    journal.write("run", seed=SEED, seconds=SECONDS)
    urls = [f"http://127.0.0.1:{proxies.front('gateway', urlsplit(url).port or 0)}" for url in system.urls]
    users = [await User.register(urls[number % 2]) for number in range(USERS)]
    actors = [Actor(user, SEED + number, journal, has_platform=True) for number, user in enumerate(users)]
    nemesis = Nemesis(system, clocks, SEED, journal, upgraded=release.variables(release.ROOT), spares_engines=IS_HA)
    network = Network(system, proxies, disks, nemesis, spares_engines=IS_HA)
    raging: list[Nemesis | Network | Failover] = [nemesis, network, *([Failover(system, nemesis)] if IS_HA else [])]
    async with AsyncExitStack() as stack:
        streams = {user.user_id: await stack.enter_async_context(Stream(user)) for user in users}
        before = await leaks.baseline(system)
        stop = asyncio.Event()
        acting = [asyncio.create_task(actor.act(stop)) for actor in actors]
        try:
            await asyncio.gather(*(each.rage(SECONDS) for each in raging))
        finally:
            stop.set()
            proxies.restore()
            began = time.monotonic()
            acted = asyncio.gather(*acting)
            await system.restore()
            await acted
        await invariants.wait_for_quiet(system, seconds=QUIET_SECONDS)
        print(f"quiet after {time.monotonic() - began:.1f} s")
        await neighbours.no_owner_is_delayed_by_another(system, urls, journal, SEED)
        await invariants.wait_for_quiet(system, seconds=QUIET_SECONDS)
        await invariants.must_hold(system)
        await checker.promises_are_kept(system, journal)
        await checker.same_key_same_answer(system, journal)
        await checker.transitions_are_legal(system)
        await checker.errors_are_explained(system)
        await checker.nothing_leaks(system)
        await checker.streams_are_complete(system, streams, may_reset=IS_HA)
        await leaks.nothing_remains(system, before)
        for user_id, stream in streams.items():
            for event in stream.events:
                journal.write("frame", user=user_id, name=event.name, id=event.id, status=event.data.get("status"))
    slowest = sorted(journal.seconds)
    print(
        f"accepted {len(slowest)} calls; 99 % within {slowest[int(len(slowest) * 0.99)]:.1f} s, all in {slowest[-1]:.1f} s"
    )
    for user in users:
        await user.close()
    await leaks.nothing_outlives_the_processes(system)
