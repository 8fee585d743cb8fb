"""Costs of the parts of a job on this machine: `python -m bench.jobs.baseline`."""

from __future__ import annotations

import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import psycopg
import sqlalchemy as sa
import uvloop
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from chassis import postgres
from dev.embedded.postgres import Postgres
from services.jobs import convert, domain

TIMES = 2_000
_OWNER = uuid.uuid4()


async def main(url: str) -> None:
    """Measure each part and print it."""
    engine = postgres.engine(url, name="baseline")
    statement = sa.text("SELECT :number, :text")
    parameters = {"number": 1, "text": "x"}

    async with engine.connect() as conn, await psycopg.AsyncConnection.connect(url, autocommit=True) as direct:
        direct.prepare_threshold = 1

        async def driver() -> None:
            await (await direct.execute("SELECT %s, %s", (1, "x"))).fetchall()

        async def round_trip() -> None:
            (await conn.execute(statement, parameters)).all()

        async def transaction() -> None:
            async with engine.begin() as fresh:
                await fresh.execute(statement, parameters)

        await _measure("a statement by the driver alone", driver)
        await _measure("the same through SQLAlchemy", round_trip)
        await _measure("the same in a transaction of its own", transaction)
    await engine.dispose()
    await _grpc()
    await _measure("an event: job to protobuf, to bytes", _event)


async def _grpc() -> None:
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        check: Any = health_pb2_grpc.HealthStub(channel).Check  # type: ignore[attr-defined]  # missing in the types

        async def call() -> None:
            await check(health_pb2.HealthCheckRequest())

        await _measure("an empty gRPC call, both sides", call)
    await server.stop(None)


async def _event() -> None:
    now = datetime.now(UTC)
    spec = domain.Spec(kind="demo.noop", owner_id=_OWNER, payload={"index": 1})
    job = domain.Job(
        job_id=_OWNER,
        spec=spec,
        state=domain.State.RUNNING,
        attempt=1,
        max_attempts=3,
        crashes=0,
        errors=0,
        progress=domain.Progress(),
        version=2,
        created_at=now,
        started_at=now,
    )
    convert.event_to_proto(job, sequence=1, reason="claimed", occurred_at=now).SerializeToString()


async def _measure(name: str, part: Callable[[], Awaitable[object]]) -> None:
    for _ in range(20):
        await part()
    cpu, began = time.process_time(), time.perf_counter()
    for _ in range(TIMES):
        await part()
    processor, elapsed = time.process_time() - cpu, time.perf_counter() - began
    print(f"{name:40} {processor / TIMES * 1e6:6.0f} µs of processor, {elapsed / TIMES * 1e6:6.0f} µs in all")


if __name__ == "__main__":
    with (
        tempfile.TemporaryDirectory() as directory,
        Postgres(Path(directory), password="baseline").temporary() as server,  # noqa: S106 - of a server that lives for seconds
    ):
        uvloop.run(main(server.url))
