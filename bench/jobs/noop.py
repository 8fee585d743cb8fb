"""The script of our engine: a worker as any service writes it, and a submitting client. See `peers.contract`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
import uuid
from collections.abc import AsyncIterator, Mapping

import grpc
import psycopg

import worker
from bench.jobs.peers import contract
from chassis import bus, identity, logs, process, run, tls
from chassis.rpc import client

KIND = "demo.noop"
CONCURRENCY = 100
OWNERS = [str(uuid.UUID(int=0x0BE7C4 << 100 | number)) for number in range(1_000)]
"""The users that the jobs are spread over."""
LATELY_SECONDS = 3_600
"""Older jobs are history and are ignored."""
UNFINISHED = f"SELECT count(*) FROM jobs.jobs WHERE kind = '{KIND}' AND job_id >= %s AND finished_at IS NULL"  # noqa: S608


async def noop(context: worker.Context) -> None:
    """Do nothing, or hold the first attempt for a while. The second attempt records the next number."""
    contract.started(int(context.payload["index"]) + context.attempt - 1)
    if context.attempt == 1 and (seconds := context.payload.get("hold")):
        await asyncio.sleep(seconds)


class Client(contract.Client):
    """Submits as a service does: signed calls over one channel."""

    def __init__(self, channel: grpc.aio.Channel, call: client.Caller, database: psycopg.AsyncConnection) -> None:
        self._database = database
        self._jobs = worker.JobsClient(channel, call)

    async def submit(self, index: int) -> None:
        await self.submit_holding(index, 0.0)

    async def submit_holding(self, index: int, seconds: float) -> None:
        """Submit a job whose first attempt takes a number of seconds."""
        payload = {"index": index, **({"hold": seconds} if seconds else {})}
        await self._jobs.submit(KIND, payload, owner_id=OWNERS[index % len(OWNERS)])

    async def unfinished(self) -> int:
        lately = uuid.UUID(int=int((time.time() - LATELY_SECONDS) * 1000) << 80)
        row = await (await self._database.execute(UNFINISHED, [lately])).fetchone()
        return int(row[0]) if row else 0


class Engine(contract.Engine):
    """Repruv's running jobs service."""

    def work(self) -> None:
        """Work as a process of `docker-compose.yml` does, logs included."""
        logs.configure("noop", level="info", form="json")
        process.until_signal(_work)

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        """Connect to the jobs service, and to its database to see when all jobs are done."""
        async with connected(os.environ) as client:
            yield client


@contextlib.asynccontextmanager
async def connected(environment: Mapping[str, str]) -> AsyncIterator[Client]:
    """Connect to the addresses in the environment of our processes."""
    url = environment["BENCH_DATABASE_URL"]
    async with (
        _channel(environment) as (channel, call),
        await psycopg.AsyncConnection.connect(url, autocommit=True) as database,
    ):
        yield Client(channel, call, database)


async def _work(stop: asyncio.Event) -> None:
    nats = bus.Bus(os.environ["NATS_URL"], name="noop", certificate=tls.from_environment(os.environ))
    async with _channel(os.environ) as (channel, call), run.Background() as background:
        jobs = worker.JobsClient(channel, call)
        works = worker.Worker(
            name="noop", kinds=[worker.Kind(KIND, noop)], jobs=jobs, bus=nats, concurrency=CONCURRENCY
        )
        background.start("bus", nats.run)
        await works.run(stop)


@contextlib.asynccontextmanager
async def _channel(environment: Mapping[str, str]) -> AsyncIterator[tuple[grpc.aio.Channel, client.Caller]]:
    channel = worker.client.channel(environment["JOBS_TARGET"], tls.from_environment(environment))
    try:
        yield channel, client.Caller(identity.Signer("demo", environment["IDENTITY_KEY"]))
    finally:
        await channel.close()


if __name__ == "__main__":
    contract.main(Engine())
