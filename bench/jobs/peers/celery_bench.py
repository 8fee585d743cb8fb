"""Celery with Redis as broker and result store."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

import celery
import contract
import redis

URL = os.environ["BENCH_REDIS_URL"]
app = celery.Celery("bench", broker=URL, backend=URL)
app.conf.update(
    # The guide's settings against lost tasks: acknowledge after the task, redeliver when the worker was killed.
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    # The guide's value for short tasks (50 to 150).
    worker_prefetch_multiplier=64,
    # One connection per client; the default is 10.
    broker_pool_limit=contract.CLIENTS,
    redis_max_connections=2 * contract.CLIENTS,
)


@app.task(name="noop")
def noop(index: int) -> None:
    contract.started(index)


class Client(contract.Client):
    """Calls from asyncio, in threads because Celery's client blocks."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(contract.CLIENTS)
        self._redis = redis.Redis.from_url(URL)

    async def submit(self, index: int) -> None:
        await asyncio.get_running_loop().run_in_executor(self._threads, noop.delay, index)

    async def unfinished(self) -> int:
        return int(self._redis.llen("celery")) + int(self._redis.hlen("unacked"))


class Engine(contract.Engine):
    def work(self) -> None:
        # The defaults: one process per processor (prefork), each with its own connection, log level WARNING.
        app.worker_main(["worker", "--loglevel=WARNING"])

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        yield Client()


if __name__ == "__main__":
    contract.main(Engine())
