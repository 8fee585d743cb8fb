"""Many users act at random while processes are killed, paused and restarted at random: afterwards all invariants hold."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from contextlib import AsyncExitStack

import pytest

from tests.acceptance import invariants, waiting
from tests.acceptance.streams import Stream
from tests.acceptance.system import System
from tests.acceptance.users import User
from tests.chaos.actor import Actor
from tests.chaos.nemesis import Nemesis

SECONDS = float(os.environ.get("CHAOS_SECONDS") or 60)
SEED = int(os.environ.get("CHAOS_SEED") or random.randrange(10**6))
USERS = 20


@pytest.mark.timeout(SECONDS + 300)
async def test_order_after_chaos(system: System) -> None:
    print(f"\nCHAOS_SEED={SEED} CHAOS_SECONDS={SECONDS:g}")
    actors = [Actor(await User.register(system.url), SEED + number) for number in range(USERS)]
    nemesis = Nemesis(system, SEED)
    async with AsyncExitStack() as stack:
        streams = {actor.user.user_id: await stack.enter_async_context(Stream(actor.user)) for actor in actors}
        stop = asyncio.Event()
        acting = [asyncio.create_task(actor.act(stop)) for actor in actors]
        try:
            await nemesis.rage(SECONDS)
        finally:
            print("\n".join(nemesis.deeds))
            stop.set()
            acted = asyncio.gather(*acting)
            await system.heal()
            await acted
        print("answers:", dict(sum((actor.answers for actor in actors), Counter())))
        await invariants.wait_for_quiet(system)
        await invariants.must_hold(system)
        await _must_have_kept_its_promises(system, actors)
        await _must_have_told_everything(system, streams)
    for actor in actors:
        await actor.user.close()


async def _must_have_kept_its_promises(system: System, actors: list[Actor]) -> None:
    """Every request that was accepted became a job, and every job has ended."""
    known = {row["job_id"]: row["state"] for row in await system.query("SELECT job_id::text, state FROM jobs.jobs")}
    accepted_jobs = {job_id for actor in actors for job_id in actor.accepted}
    assert accepted_jobs <= known.keys()
    assert set(known.values()) <= {"completed", "failed", "cancelled"}
    attempts = Counter(row["outcome"] for row in await system.query("SELECT outcome FROM jobs.attempts"))
    print(f"jobs: {dict(Counter(known.values()))}; attempts: {dict(attempts)}")
    errors = await system.query("SELECT error_code, count(*) FROM jobs.attempts WHERE outcome = 'failed' GROUP BY 1")
    assert {row["error_code"] for row in errors} <= {"demo_handler_failed"}, errors


async def _must_have_told_everything(system: System, streams: dict[str, Stream]) -> None:
    """Return whether every stream has sent every transition of its owner, in order, once."""
    rows = await system.query("SELECT owner_id::text, last_sequence FROM jobs.owners")
    latest = {row["owner_id"]: row["last_sequence"] for row in rows}

    async def has_caught_up() -> bool:
        return all(stream.numbered and stream.numbered[-1].id == latest[owner] for owner, stream in streams.items())

    await waiting.until(has_caught_up, "the streams have sent everything", seconds=15.0)
    for stream in streams.values():
        stream.must_be_gap_free()
        stream.must_never_fall_back()
    print(
        f"transitions sent: {sum(latest.values())}, connections: {sum(actor.connections for actor in streams.values())}"
    )
