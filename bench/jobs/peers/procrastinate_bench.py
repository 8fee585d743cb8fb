"""Procrastinate: a queue in PostgreSQL, run by asyncio."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator

import contract
import procrastinate

# The pool needs a connection per concurrent job, beside the listening one.
CONCURRENCY = 20
app = procrastinate.App(
    connector=procrastinate.PsycopgConnector(
        conninfo=os.environ["BENCH_DATABASE_URL"], min_size=4, max_size=CONCURRENCY + 4
    )
)


@app.task(name="noop", queue="bench")
async def noop(index: int) -> None:
    contract.started(index)


class Client(contract.Client):
    async def submit(self, index: int) -> None:
        await noop.defer_async(index=index)

    async def unfinished(self) -> int:
        query = "SELECT count(*) AS count FROM procrastinate_jobs WHERE status IN ('todo', 'doing')"
        return int((await app.connector.execute_query_one_async(query))["count"])


class Engine(contract.Engine):
    async def setup(self) -> None:
        async with app.open_async():
            await app.schema_manager.apply_schema_async()

    def work(self) -> None:
        contract.run(self._work())

    async def _work(self) -> None:
        async with app.open_async():
            # Everything else is the default: LISTEN and NOTIFY; finished jobs are kept, as ours are.
            await app.run_worker_async(queues=["bench"], concurrency=CONCURRENCY)

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        async with app.open_async():
            yield Client()


if __name__ == "__main__":
    contract.main(Engine())
