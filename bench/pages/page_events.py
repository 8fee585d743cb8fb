"""Events for the open pages of a user: running jobs that report progress through the whole system."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import worker
from bench.events import Events, Frame
from bench.system import System, User
from chassis import bus, identity, run, tls
from chassis.rpc import client

KIND = "demo.steady"
RATE = 20
JOBS = 4
TOTAL = 100_000
WARM_UP_SECONDS = 60.0


@asynccontextmanager
async def running_jobs(system: System, user: User) -> AsyncIterator[Events]:
    """Create about `RATE` events per second for a user. Yield a stream that receives them too."""
    environment = system.stack.environment("demo-worker")
    certificate = tls.from_environment(environment)
    is_over = asyncio.Event()

    async def steady(context: worker.Context) -> None:
        done = 0
        while not is_over.is_set():
            done += 1
            await context.progress(done, TOTAL, f"Step {done}")
            await asyncio.sleep(JOBS / RATE)

    nats = bus.Bus(environment["NATS_URL"], name="steady", certificate=certificate)
    channel = worker.client.channel(environment["JOBS_TARGET"], certificate)
    jobs = worker.JobsClient(channel, client.Caller(identity.Signer("demo", environment["IDENTITY_KEY"])))
    steady_worker = worker.Worker(
        name="steady", kinds=[worker.Kind(KIND, steady)], jobs=jobs, bus=nats, concurrency=JOBS
    )
    try:
        async with run.Background() as background, system.watch(user) as events:
            background.start("bus", nats.run)
            stop = asyncio.Event()
            working = asyncio.create_task(steady_worker.run(stop))
            for _ in range(JOBS):
                await jobs.submit(KIND, {}, owner_id=user.user_id)
            await events.until(lambda frame: "Step 3" in str(frame.data), timeout=WARM_UP_SECONDS)
            yield events
            is_over.set()
            await events.until(_Ended(JOBS), timeout=WARM_UP_SECONDS)
            stop.set()
            await working
    finally:
        await channel.close()


class _Ended:
    """A predicate that is true for the frame of the last of `count` completed jobs."""

    def __init__(self, count: int) -> None:
        self._left = count

    def __call__(self, frame: Frame) -> bool:
        self._left -= frame.data.get("kind") == KIND and frame.data.get("status") == "completed"
        return self._left == 0
