"""Many users act at random while processes and connections are disturbed at random: afterwards all invariants hold."""

from __future__ import annotations

import asyncio
import os
import random
import time
from contextlib import AsyncExitStack

import pytest

from tests.acceptance import invariants
from tests.acceptance.streams import Stream
from tests.acceptance.system import System
from tests.acceptance.users import User
from tests.chaos import checker
from tests.chaos.actor import Actor
from tests.chaos.journal import Journal
from tests.chaos.nemesis import Nemesis
from tests.chaos.network import Network
from tests.chaos.proxy import Proxies

SECONDS = float(os.environ.get("CHAOS_SECONDS") or 60)
SEED = int(os.environ.get("CHAOS_SEED") or random.randrange(10**6))
USERS = 20
QUIET_SECONDS = 120.0


@pytest.mark.timeout(SECONDS + 420)
async def test_order_after_chaos(system: System, proxies: Proxies, journal: Journal) -> None:
    print(f"\nCHAOS_SEED={SEED} CHAOS_SECONDS={SECONDS:g}")
    journal.write("run", seed=SEED, seconds=SECONDS)
    users = [await User.register(system.urls[number % 2]) for number in range(USERS)]
    actors = [Actor(user, SEED + number, journal, has_platform=True) for number, user in enumerate(users)]
    nemesis = Nemesis(system, SEED, journal)
    network = Network(system, proxies, nemesis)
    async with AsyncExitStack() as stack:
        streams = {user.user_id: await stack.enter_async_context(Stream(user)) for user in users}
        stop = asyncio.Event()
        acting = [asyncio.create_task(actor.act(stop)) for actor in actors]
        try:
            await asyncio.gather(nemesis.rage(SECONDS), network.rage(SECONDS))
        finally:
            stop.set()
            proxies.heal()
            began = time.monotonic()
            acted = asyncio.gather(*acting)
            await system.heal()
            await acted
        await invariants.wait_for_quiet(system, seconds=QUIET_SECONDS)
        print(f"quiet after {time.monotonic() - began:.1f} s")
        await invariants.must_hold(system)
        await checker.promises_are_kept(system, journal)
        await checker.transitions_are_legal(system)
        await checker.errors_are_explained(system)
        await checker.nothing_leaks(system)
        await checker.streams_are_complete(system, streams)
        for user_id, stream in streams.items():
            for event in stream.events:
                journal.write("frame", user=user_id, name=event.name, id=event.id, status=event.data.get("status"))
    slowest = sorted(journal.seconds)
    print(
        f"accepted {len(slowest)} calls; 99 % within {slowest[int(len(slowest) * 0.99)]:.1f} s, all in {slowest[-1]:.1f} s"
    )
    for user in users:
        await user.close()
