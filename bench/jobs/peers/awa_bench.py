"""awa: a queue in PostgreSQL with an engine in Rust and handlers in Python."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass

import awa
import contract

URL = os.environ["BENCH_DATABASE_URL"]
QUEUE = "bench"
# The first worker in an empty database switches to the storage of 0.6, `queue_storage`. A job submitted before
# keeps the storage of 0.5, `canonical`, as after an upgrade.
STORAGE = os.environ.get("BENCH_STORAGE", "queue_storage")
WORKERS = 50
"""The default of a queue, more than our 20."""


@dataclass
class Noop:
    index: int


class Client(contract.Client):
    def __init__(self, jobs: awa.AsyncClient) -> None:
        self._jobs = jobs

    async def submit(self, index: int) -> None:
        await self._jobs.insert(Noop(index), queue=QUEUE)

    async def unfinished(self) -> int:
        stats = [stat for stat in await self._jobs.queue_stats() if stat.queue == QUEUE]
        return sum(stat.available + stat.running + stat.retryable + stat.scheduled for stat in stats)


class Engine(contract.Engine):
    async def setup(self) -> None:
        async with awa.AsyncClient(URL) as jobs:
            await jobs.migrate()
            if STORAGE == "canonical":
                await jobs.insert(Noop(0), queue=QUEUE)
        async with self._working():
            pass
        async with awa.AsyncClient(URL) as jobs:
            assert json.loads(await jobs.storage_status())["active_engine"] == STORAGE

    def work(self) -> None:
        contract.run(self._work())

    async def _work(self) -> None:
        async with self._working():
            stop = asyncio.Event()
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
            await stop.wait()

    @contextlib.asynccontextmanager
    async def _working(self) -> AsyncIterator[None]:
        jobs = awa.AsyncClient(URL, max_connections=contract.CLIENTS)

        @jobs.task(Noop, queue=QUEUE)
        async def noop(job: awa.Job[Noop]) -> None:
            contract.started(job.args.index)

        await jobs.start([(QUEUE, WORKERS)])
        yield
        await jobs.shutdown()
        await jobs.close()

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        # As many connections as clients; the default is 10.
        async with awa.AsyncClient(URL, max_connections=contract.CLIENTS) as jobs:
            yield Client(jobs)


if __name__ == "__main__":
    contract.main(Engine())
