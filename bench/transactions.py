"""`python -m bench.transactions`: processor time of a small transaction, by the ways to run it."""

from __future__ import annotations

import asyncio
import re
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import psycopg
import sqlalchemy as sa
import uvloop
from sqlalchemy.ext.asyncio import AsyncEngine

from bench import cpu
from chassis import postgres, transactions
from chassis.prepared import Prepared
from dev.embedded.postgres import Postgres

ROUNDS = {50.0: 300, 0.0: 2000}
"""Transactions per second (0: one after the other), and how many."""
WARM_UP = 20
_TABLES = "CREATE TABLE counters (id int PRIMARY KEY, value int); CREATE TABLE log (value int, payload bytea)"
_TEXTS = {
    "count": "UPDATE counters SET value = value + 1 WHERE id = :id RETURNING value",
    "log": "INSERT INTO log (value, payload) VALUES (:value, :payload)",
    "both": """
WITH counted AS (UPDATE counters SET value = value + 1 WHERE id = :id RETURNING value)
INSERT INTO log (value, payload) SELECT value, CAST(:payload AS bytea) FROM counted
""",
}
_COUNT, _LOG = (Prepared(sa.text(_TEXTS[name])) for name in ("count", "log"))
_COUNT_BY_DRIVER, _LOG_BY_DRIVER, _BOTH_BY_DRIVER = (re.sub(r":(\w+)", r"%(\1)s", text) for text in _TEXTS.values())
_PAYLOAD = b"x" * 700


def ways(engine: AsyncEngine, driver: psycopg.AsyncConnection) -> Mapping[str, Callable[[int], Awaitable[object]]]:
    """Return the ways to count and log in one transaction. `driver` is in autocommit mode."""

    async def pooled(number: int) -> None:
        async with engine.begin() as conn:
            ((value,),) = await _COUNT.execute(conn, {"id": number})
            await _LOG.execute(conn, {"value": value, "payload": _PAYLOAD})

    async def checked_out(number: int) -> None:
        async with transactions.begin(engine) as conn:
            ((value,),) = await _COUNT.execute(conn, {"id": number})
            await _LOG.execute(conn, {"value": value, "payload": _PAYLOAD})

    async def ended(number: int) -> None:
        async with transactions.begin(engine) as conn:
            ((value,),) = await _COUNT.execute(conn, {"id": number})
            await _LOG.execute(conn, {"value": value, "payload": _PAYLOAD}, commit=True)

    async def statements(number: int) -> None:
        await driver.execute("BEGIN", prepare=True)
        cursor = await driver.execute(_COUNT_BY_DRIVER, {"id": number}, prepare=True)
        ((value,),) = await cursor.fetchall()
        await driver.execute(_LOG_BY_DRIVER, {"value": value, "payload": _PAYLOAD}, prepare=True)
        await driver.execute("COMMIT", prepare=True)

    async def pipelined(number: int) -> None:
        async with driver.pipeline():
            await statements(number)

    async def single(number: int) -> None:
        await driver.execute(_BOTH_BY_DRIVER, {"id": number, "payload": _PAYLOAD}, prepare=True)

    return {
        "SQLAlchemy's pool and transaction": pooled,
        "SQLAlchemy's pool, kept connections": checked_out,
        "… COMMIT with the last statement": ended,
        "psycopg": statements,
        "psycopg, pipelined": pipelined,
        "psycopg, one statement": single,
    }


async def measure(server: Postgres) -> None:
    """Measure every way and print one line for each."""
    engine = postgres.engine(server.url, name="bench")
    async with await psycopg.AsyncConnection.connect(server.url, autocommit=True) as driver:
        await driver.execute(_TABLES)
        await driver.execute("INSERT INTO counters SELECT id, 0 FROM generate_series(0, 99) id")
        for rate, count in ROUNDS.items():
            print(f"{f'{rate:.0f} per second' if rate else 'one after the other'}, ms of processor: client, PostgreSQL")
            for name, run in ways(engine, driver).items():
                for number in range(WARM_UP):
                    await run(number)
                client, database = time.process_time(), cpu.processor_seconds(cpu.tree(server.pid))
                for number in range(count):
                    await run(number % 100)
                    if rate:
                        await asyncio.sleep(1 / rate)
                client, database = time.process_time() - client, cpu.processor_seconds(cpu.tree(server.pid)) - database
                print(f"  {name:36} {client * 1000 / count:6.2f} {database * 1000 / count:6.2f}")
    await engine.dispose()


def main() -> None:
    """Measure on a server of its own."""
    with (
        tempfile.TemporaryDirectory(prefix="repruv-bench-") as directory,
        Postgres(Path(directory) / "postgres", password="bench").temporary() as server,  # noqa: S106 - a server of this run
    ):
        uvloop.run(measure(server))


if __name__ == "__main__":
    main()
