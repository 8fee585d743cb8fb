"""DBOS: durable workflows in PostgreSQL. A job is an enqueued workflow."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import AsyncIterator

import contract
import sqlalchemy as sa
from dbos import DBOS, DBOSClient

# Its queues only poll, by default once a second, and without `worker_concurrency` (the default) take all there is at each
# poll; with it, not more than that a second could run. So: without, and with its own interval or the one given.
POLL_SECONDS = float(os.environ.get("BENCH_POLL_SECONDS", "1.0"))
URL = os.environ["BENCH_DATABASE_URL"].replace("postgresql://", "postgresql+psycopg://")
QUEUE = "bench"


@DBOS.workflow(name="noop")
async def noop(index: int) -> None:
    contract.started(index)


class Client(contract.Client):
    def __init__(self) -> None:
        # As many connections as clients; the default is 5.
        self._dbos = DBOSClient(system_database_url=URL, system_database_pool_size=contract.CLIENTS)
        self._engine = sa.create_engine(URL, isolation_level="AUTOCOMMIT")

    async def submit(self, index: int) -> None:
        await self._dbos.enqueue_async({"workflow_name": "noop", "queue_name": QUEUE}, index)

    async def unfinished(self) -> int:
        query = "SELECT count(*) FROM dbos.workflow_status WHERE status IN ('ENQUEUED', 'PENDING')"
        with self._engine.connect() as conn:
            return int(conn.execute(sa.text(query)).scalar_one())


class Engine(contract.Engine):
    async def setup(self) -> None:
        _configure()
        DBOS.launch()
        await DBOS.register_queue_async(QUEUE, polling_interval_sec=POLL_SECONDS)
        DBOS.destroy()

    def work(self) -> None:
        _configure()
        DBOS.launch()
        stop = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: stop.set())
        stop.wait()
        DBOS.destroy()

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        yield Client()


def _configure() -> None:
    # A fixed version, as in deployments, so that a restarted worker runs waiting jobs.
    DBOS(
        config={"name": "bench", "system_database_url": URL, "application_version": "1", "executor_id": "worker-1"}
        | {"console_log_level": "WARNING"}
    )


if __name__ == "__main__":
    contract.main(Engine())
