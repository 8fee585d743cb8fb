"""A separate highly available system, and users who act on it while servers fail."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from dev.launcher.stack import Stack
from tests.acceptance import invariants, waiting
from tests.acceptance.streams import Stream
from tests.acceptance.system import WORKER, System
from tests.acceptance.users import User
from tests.chaos.actor import Actor

USERS = 10
SETTLED_SECONDS = 120.0

TheLoad = Callable[[System], AbstractAsyncContextManager["Load"]]


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[System]:
    """The system, with workers that take a moment for each job."""
    variables = {"PASSWORD_MEMORY_KIB": "1024", "REGISTRATIONS_PER_ADDRESS": "1000000", "DEMO_BATCH_PAUSE_MS": "40"}
    print(f"\nlines of all processes: {tmp_path / 'log'}")
    stack = Stack(tmp_path / "data", scale={WORKER: 2}, env=variables, ha=True, log=tmp_path / "log")
    async with System(stack) as system:
        yield system


class Load:
    """Users who act at random and read their streams."""

    def __init__(self, system: System, actors: list[Actor], streams: dict[str, Stream]) -> None:
        self.actors = actors
        self.streams = streams
        self._system = system

    @property
    def answers(self) -> Counter[str]:
        """How often each status was answered; `broken` without an answer."""
        return sum((actor.answers for actor in self.actors), Counter())

    async def must_have_been_served(self) -> None:
        """Assert that every accepted operation has ended, and that the streams have sent everything."""
        await invariants.wait_for_quiet(self._system, seconds=SETTLED_SECONDS)
        await invariants.must_hold(self._system)
        jobs = await self._system.query("SELECT job_id::text, state FROM jobs.jobs")
        states = {row["job_id"]: row["state"] for row in jobs}
        assert {job_id for actor in self.actors for job_id in actor.accepted} <= states.keys()
        assert set(states.values()) <= {"completed", "failed", "cancelled"}
        rows = await self._system.query("SELECT owner_id::text, last_sequence FROM jobs.owners")
        latest = {row["owner_id"]: row["last_sequence"] for row in rows}

        async def have_caught_up() -> bool:
            return all(stream.position == latest.get(owner, 0) for owner, stream in self.streams.items())

        await waiting.until(have_caught_up, "the streams have sent everything", seconds=60.0)
        for stream in self.streams.values():
            stream.must_never_fall_back()
        print(f"answers: {dict(self.answers)}; jobs: {dict(Counter(states.values()))}")


@pytest.fixture
def load() -> TheLoad:
    """Put a system under load while the context lasts."""

    @asynccontextmanager
    async def start(system: System) -> AsyncIterator[Load]:
        seed = random.randrange(10**6)
        actors = [Actor(await User.register(system.url), seed + number) for number in range(USERS)]
        async with AsyncExitStack() as stack:
            streams = {actor.user.user_id: await stack.enter_async_context(Stream(actor.user)) for actor in actors}
            stop = asyncio.Event()
            acting = [asyncio.create_task(actor.act(stop)) for actor in actors]
            generated = Load(system, actors, streams)
            try:
                yield generated
            finally:
                stop.set()
                await asyncio.gather(*acting)
            await generated.must_have_been_served()
        for actor in actors:
            await actor.user.close()

    return start
