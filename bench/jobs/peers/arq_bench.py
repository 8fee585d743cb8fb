"""arq: a queue in Redis, run by asyncio."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator

import arq
import contract
from arq.connections import RedisSettings
from arq.constants import default_queue_name

# The worker polls every half second by default. One poll takes at most as many jobs as it may run at once.
POLL_SECONDS = float(os.environ.get("BENCH_POLL_SECONDS", "0.5"))
CONCURRENCY = 20
"""The default is 10."""
REDIS = RedisSettings.from_dsn(os.environ["BENCH_REDIS_URL"])


async def noop(ctx: dict[str, object], index: int) -> None:
    contract.started(index)


class Client(contract.Client):
    def __init__(self, redis: arq.ArqRedis) -> None:
        self._redis = redis

    async def submit(self, index: int) -> None:
        await self._redis.enqueue_job("noop", index)

    async def unfinished(self) -> int:
        # A job leaves the queue when its result is stored.
        return int(await self._redis.zcard(default_queue_name))


class Engine(contract.Engine):
    def work(self) -> None:
        async def run() -> None:
            worker = arq.Worker([noop], redis_settings=REDIS, max_jobs=CONCURRENCY, poll_delay=POLL_SECONDS)
            with contextlib.suppress(BaseException):  # it cancels itself at SIGTERM
                await worker.async_run()
            await worker.close()

        contract.run(run())

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        redis = await arq.create_pool(REDIS)
        yield Client(redis)
        await redis.aclose()


if __name__ == "__main__":
    contract.main(Engine())
